//! `os.gabion.Network`.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use bus::interface::Empty;
use bus::interfaces::network::*;
use bus::network_link::CONFIG_MAX;
use bus::server::{Answer, Call, Server};
use policy::HostPort;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;

use super::shown::shown;
use super::status::{Known, reason, status};
use super::why::{First, first, second};
use crate::apps::AppPolicy;
use crate::dns::{self, Kind as Record, Outcome, Resolver};
use crate::policies::Policies;
use crate::state::{self, NetState};
use crate::time::{Source, TimeState};

/// An answer that had to be waited for.
type Done = bus_tokio::Done<Serve>;

/// Checks and takes a text.
type Configuring = dyn Fn(&str) -> Result<(), String>;

/// What the answers come from.
pub struct Sources {
    /// What each app was granted, and the kernel's rules.
    pub policies: Rc<Policies>,
    /// Names.
    pub resolver: Rc<Resolver<Rc<Policies>>>,
    /// The links.
    pub net: watch::Receiver<NetState>,
    /// How names are resolved, by the configuration.
    pub dns: watch::Receiver<dns::Settings>,
    /// The clock.
    pub time: watch::Receiver<TimeState>,
    /// What is wrong with the configuration that was kept, and is passed over.
    pub fault: Rc<RefCell<Option<String>>>,
    /// Checks and takes a new configuration; what is wrong with it, for people.
    pub configure: Box<Configuring>,
}

/// The handler of all calls.
pub struct Serve {
    pub(super) sources: Sources,
    names: watch::Receiver<dns::Health>,
    done: mpsc::Sender<Done>,
}

impl Handler for Serve {
    fn get_status(&mut self, call: Call<'_, GetStatus>) -> Answer {
        let names = self.names.borrow().clone();
        let known = self.known(&names);
        let net = self.sources.net.borrow();
        let (reach, missing) = status(&net, known);
        let reason = missing.map(|stage| reason(stage, &net, known).into());
        let name_servers = self.name_servers(&net).into_iter().map(Into::into).collect();
        let fault = self.sources.fault.borrow();
        let fault = fault.as_deref().map(Into::into);
        call.reply(&GetStatusReply { reach, missing, reason, name_servers, fault })
    }

    fn resolve(&mut self, call: Call<'_, Resolve>, parameters: ResolveParameters<'_>) -> Answer {
        let host = parameters.host.into_owned();
        let policy = self.sources.policies.apps.borrow().get(&call.caller().uid).cloned();
        let manifest_line = format!("[network] connect = [\"{host}:PORT/tcp\"]");
        let Some(policy) = policy else { return call.fail(&Error::HostNotListed { host, manifest_line }) };
        let resolver = self.sources.resolver.clone();
        let (pending, answer) = call.later();
        self.later(async move {
            let v4 = resolver.resolve(&policy, &host, Some(Record::A)).await;
            let v6 = match v4 {
                Outcome::NotListed => Outcome::NotListed,
                _ => resolver.resolve(&policy, &host, Some(Record::Aaaa)).await,
            };
            let found = joined(host, manifest_line, v4, v6);
            move |server: &mut Server<Self>| match found {
                Ok((addresses, ttl_s)) => {
                    server.finish(pending, &ResolveReply { addresses: texts(&addresses), ttl_s })
                }
                Err(error) => server.fail(pending, &error),
            }
        });
        answer
    }

    fn list_interfaces(&mut self, call: Call<'_, ListInterfaces>) -> Answer {
        let net = self.sources.net.borrow();
        let mut interfaces: Vec<Link<'_>> = net.links.iter().map(link).collect();
        interfaces.sort_by(|a, b| a.name.cmp(&b.name));
        call.reply(&ListInterfacesReply { interfaces })
    }

    fn list_own_rules(&mut self, call: Call<'_, ListOwnRules>) -> Answer {
        let policy = self.sources.policies.apps.borrow().get(&call.caller().uid).cloned();
        let rules = policy.map(|policy| self.rules(&policy)).unwrap_or_default();
        call.reply(&ListOwnRulesReply { rules })
    }

    fn list_rules(&mut self, call: Call<'_, ListRules>, parameters: ListRulesParameters<'_>) -> Answer {
        match self.app(&parameters.app) {
            Some(policy) => call.reply(&ListRulesReply { rules: self.rules(&policy) }),
            None => call.fail(&Error::NoNetwork { app: parameters.app.into_owned() }),
        }
    }

    fn why_connect(&mut self, call: Call<'_, WhyConnect>, parameters: WhyConnectParameters<'_>) -> Answer {
        let protocol = match parameters.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        if !(1..=i64::from(u16::MAX)).contains(&parameters.port) {
            return call.invalid("port");
        }
        let wanted: Result<HostPort, _> =
            format!("{}:{}/{protocol}", parameters.host, parameters.port).parse();
        let Ok(wanted) = wanted else { return call.invalid("host") };
        let policy = self.app(&parameters.app);
        let missing = self.missing();
        let in_kernel =
            |address: IpAddr| policy.as_ref().is_some_and(|policy| self.has_rule(policy, &wanted, address));
        match (first(&parameters.app, policy.as_ref(), &wanted, missing.as_deref(), in_kernel), policy) {
            (First::Resolve { line }, Some(policy)) => {
                let own = self.own();
                let resolver = self.sources.resolver.clone();
                let (pending, answer) = call.later();
                self.later(async move {
                    let mut found = resolver.lookup(wanted.host().as_str(), Record::A).await;
                    found.extend(resolver.lookup(wanted.host().as_str(), Record::Aaaa).await);
                    let reply = second(&line, &policy, &wanted, &found, &own);
                    move |server: &mut Server<Self>| server.finish(pending, &reply)
                });
                answer
            }
            (First::Said(reply), _) => call.reply(&reply),
            // A name is looked up only for an app that names it.
            (First::Resolve { .. }, None) => call.invalid("app"),
        }
    }

    fn configure(&mut self, call: Call<'_, Configure>, parameters: ConfigureParameters<'_>) -> Answer {
        if parameters.text.len() > CONFIG_MAX {
            return call
                .fail(&Error::NotUnderstood { reason: format!("it is longer than {CONFIG_MAX} bytes") });
        }
        match (self.sources.configure)(&parameters.text) {
            Ok(()) => call.reply(&Empty {}),
            Err(reason) => call.fail(&Error::NotUnderstood { reason }),
        }
    }
}

impl Serve {
    /// Answering from these. What has to be waited for goes to `done`.
    pub(super) fn new(sources: Sources, done: mpsc::Sender<Done>) -> Self {
        Self { names: sources.resolver.health(), sources, done }
    }

    fn later<D>(&self, answer: impl Future<Output = D> + 'static)
    where
        D: FnOnce(&mut Server<Self>) + 'static,
    {
        let done = self.done.clone();
        spawn_local(async move {
            let answer: Done = Box::new(answer.await);
            // The loop that reads them ends with netd.
            let _ = done.send(answer).await;
        });
    }

    fn app(&self, id: &str) -> Option<AppPolicy> {
        self.sources.policies.apps.borrow().values().find(|policy| policy.id == id).cloned()
    }

    fn rules(&self, policy: &AppPolicy) -> Vec<Rule<'static>> {
        shown(policy, &self.sources.policies.list(policy.uid), sys::bpf::clock_ns().unwrap_or(0))
    }

    fn has_rule(&self, policy: &AppPolicy, wanted: &HostPort, address: IpAddr) -> bool {
        let mapped = firewall::tables::mapped(address);
        let listed = self.sources.policies.list(policy.uid);
        listed.iter().any(|rule| rule.key.address == mapped && rule.key.port == wanted.port().number())
    }

    fn known<'a>(&self, names: &'a dns::Health) -> Known<'a> {
        Known {
            name_server: !self.name_servers(&self.sources.net.borrow()).is_empty(),
            names: names.as_ref().map(|known| known.as_ref().copied()),
            time: self.sources.time.borrow().source == Source::Network,
        }
    }

    /// What is missing for an app to reach somebody.
    fn missing(&self) -> Option<String> {
        let names = self.names.borrow().clone();
        let known = self.known(&names);
        let net = self.sources.net.borrow();
        let (reach, missing) = status(&net, known);
        // Without a route the local network can be reached, and without names whatever is no name.
        let missing = missing.filter(|_| matches!(reach, Reach::Offline | Reach::Link));
        missing.map(|stage| reason(stage, &net, known))
    }

    fn name_servers(&self, net: &NetState) -> Vec<String> {
        let configured = &self.sources.dns.borrow().servers;
        if configured.is_empty() {
            net.name_servers.iter().map(ToString::to_string).collect()
        } else {
            configured.iter().map(|server| server.ip().to_string()).collect()
        }
    }

    fn own(&self) -> Vec<IpAddr> {
        let net = self.sources.net.borrow();
        net.links.iter().flat_map(|link| link.addresses.iter().map(|(address, _)| *address)).collect()
    }
}

fn link(link: &state::Link) -> Link<'_> {
    let pair = |byte: &u8| format!("{byte:02x}");
    let hardware = |bytes: [u8; 6]| bytes.iter().map(pair).collect::<Vec<_>>().join(":");
    let starts = |with: &[&str]| with.iter().any(|start| link.name.starts_with(start));
    Link {
        name: link.name.as_str().into(),
        kind: match link {
            link if link.loopback => Kind::Loopback,
            _ if starts(&["wl"]) => Kind::Wifi,
            _ if starts(&["ww"]) => Kind::Cellular,
            _ if starts(&["eth", "en"]) => Kind::Ethernet,
            _ => Kind::Other,
        },
        up: link.up,
        hardware_address: link.hardware_address.map(|bytes| hardware(bytes).into()),
        addresses: link
            .addresses
            .iter()
            .map(|(address, prefix)| format!("{address}/{prefix}").into())
            .collect(),
        gateway: link.gateways.first().map(|gateway| gateway.to_string().into()),
    }
}

fn joined(
    host: String,
    manifest_line: String,
    v4: Outcome,
    v6: Outcome,
) -> Result<(Vec<IpAddr>, i64), Error> {
    let mut addresses = Vec::new();
    let mut ttl = u32::MAX;
    let mut reason = "it has no address".to_owned();
    for outcome in [v4, v6] {
        match outcome {
            Outcome::Addresses(found, ttl_s) => {
                addresses.extend(found);
                ttl = ttl.min(ttl_s);
            }
            Outcome::NotListed => return Err(Error::HostNotListed { host, manifest_line }),
            Outcome::Nothing => {}
            Outcome::NoName => reason = "there is no such name".to_owned(),
            Outcome::KeptBack(because) | Outcome::Failed(because) => reason = because.text,
        }
    }
    if addresses.is_empty() {
        return Err(Error::NotResolved { host, reason });
    }
    Ok((addresses, ttl.into()))
}

fn texts(addresses: &[IpAddr]) -> Vec<std::borrow::Cow<'static, str>> {
    addresses.iter().map(|address| address.to_string().into()).collect()
}
