//! Names for the part that keeps the time, which needs them before it has it.
//!
//! Until a server has set the clock, certificates of name servers may be newer than it (decision 16). It is asked for each
//! look-up anew: from the moment that the clock is set nothing is forgiven.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;

use tokio::sync::watch;

use crate::dns::{Kind, Learn, Resolver};
use crate::time::{Lookup, Source, TimeState};

/// The resolver, and the state of the clock.
pub struct Names<L> {
    /// Who is asked.
    pub resolver: Rc<Resolver<L>>,
    /// Whether the clock was set.
    pub time: watch::Receiver<TimeState>,
}

impl<L: Learn> Lookup for Names<L> {
    fn lookup<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = Vec<IpAddr>> + 'a>> {
        Box::pin(async move {
            let is_set = self.time.borrow().source == Source::Network;
            let mut addresses = Vec::new();
            for kind in [Kind::A, Kind::Aaaa] {
                addresses.extend(match is_set {
                    true => self.resolver.lookup(name, kind).await,
                    false => self.resolver.lookup_early(name, kind).await,
                });
            }
            addresses
        })
    }
}
