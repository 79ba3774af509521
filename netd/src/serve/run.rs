//! Which interfaces netd serves.

use std::io;

use bus::interfaces as on_bus;
use bus::server::Server;
use bus::session::About;

use super::network::{Serve, Sources};

/// Serves for ever.
///
/// # Errors
/// The server's descriptors fail.
pub async fn run(sources: Sources) -> io::Result<()> {
    let about = About { vendor: "Gabion", product: "netd", version: env!("CARGO_PKG_VERSION"), url: "" };
    let mut server = Server::new(about)?;
    server.serve(&on_bus::network::INTERFACE, on_bus::network::dispatch);
    server.serve(&on_bus::time::INTERFACE, on_bus::time::dispatch);
    turns(server, sources).await
}

async fn turns(server: Server<Serve>, sources: Sources) -> io::Result<()> {
    let (done, answers) = bus_tokio::answers();
    bus_tokio::run(server, Serve::new(sources, done), answers).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;
    use std::time::Duration;

    use bus::client::{CallError, Connection};
    use bus::interfaces::network::{Client, Error, Obstacle, Protocol, Reach};
    use bus::server::Handover;
    use tokio::sync::watch;
    use tokio::task::LocalSet;

    use super::*;
    use crate::apps::AppPolicy;
    use crate::dns::{self, Resolver};
    use crate::policies::Policies;
    use crate::state::NetState;
    use crate::time::TimeState;

    const UID: u32 = 10_000;

    /// Serves one connection of the box `UID` until `calls` is through with it.
    fn served(calls: impl FnOnce(Client) + Send + 'static) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let caller = std::thread::spawn(move || calls(Client(Connection::over(theirs))));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async move {
            let about = About { vendor: "", product: "", version: "", url: "" };
            let mut server = Server::new(about).unwrap();
            server.offer(&on_bus::network::INTERFACE, on_bus::network::dispatch);
            let handover = Handover {
                serial: 1,
                app: "com.example.a".to_owned(),
                uid: UID,
                system: false,
                interface: on_bus::network::INTERFACE.name.to_owned(),
                methods: on_bus::network::INTERFACE.methods.iter().map(|m| m.name.to_owned()).collect(),
                message_bytes: 65_536,
            };
            server.adopt(handover, ours.into()).unwrap();
            let serving = tokio::task::spawn_local(turns(server, sources()));
            while !caller.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            serving.abort();
            caller.join().unwrap();
        });
    }

    fn sources() -> Sources {
        let policies = Rc::new(Policies::default());
        let policy = AppPolicy {
            uid: UID,
            id: "com.example.a".to_owned(),
            connect: vec!["a.example:443/tcp".parse().unwrap(), "localhost:1/tcp".parse().unwrap()],
            listen: Vec::new(),
            private: Vec::new(),
        };
        policies.apps.borrow_mut().insert(UID, policy);
        let (net, dns) =
            (watch::Sender::new(NetState::default()), watch::Sender::new(dns::Settings::default()));
        let notes = policies.clone();
        let events = Box::new(move |event| notes.note(event));
        Sources {
            resolver: Resolver::new(dns.subscribe(), net.subscribe(), policies.clone(), events),
            policies,
            net: net.subscribe(),
            dns: dns.subscribe(),
            time: watch::Sender::new(TimeState::default()).subscribe(),
            fault: Rc::default(),
            configure: Box::new(|text| if text.is_empty() { Ok(()) } else { Err("line 1".to_owned()) }),
        }
    }

    #[test]
    fn calls_are_answered_at_once_or_after_a_look_up_and_in_order() {
        served(|mut client| {
            for _ in 0..20 {
                assert_eq!(client.get_status().unwrap().reach, Reach::Offline);
                let error = client.resolve("b.example").unwrap_err();
                assert!(matches!(error, CallError::Interface(Error::HostNotListed { .. })), "{error}");
                let error = client.resolve("a.example").unwrap_err();
                assert!(matches!(error, CallError::Interface(Error::NotResolved { .. })), "{error}");
                assert_eq!(client.resolve("localhost").unwrap().addresses, ["127.0.0.1", "::1"]);
            }
        });
    }

    #[test]
    fn app_has_its_own_rules_and_one_without_a_network_is_an_error() {
        served(|mut client| {
            assert_eq!(client.list_own_rules().unwrap().rules.len(), 2);
            assert_eq!(client.list_rules("com.example.a").unwrap().rules.len(), 2);
            let error = client.list_rules("com.example.b").unwrap_err();
            assert!(matches!(error, CallError::Interface(Error::NoNetwork { .. })), "{error}");
            let mut why = |host: &str, port| {
                let reply = client.why_connect("com.example.a", host, port, Protocol::Tcp);
                reply.map(|reply| reply.obstacle).ok()
            };
            assert_eq!(why("localhost", 1), Some(None));
            assert_eq!(why("b.example", 443), Some(Some(Obstacle::Manifest)));
            assert_eq!(why("a.example", 443), Some(Some(Obstacle::Network)));
            assert_eq!((why("a.example", 0), why("a b", 1)), (None, None));
        });
    }

    #[test]
    fn configuration_with_a_fault_is_answered_with_it() {
        served(|mut client| {
            client.configure("").unwrap();
            let error = client.configure("x").unwrap_err();
            assert!(
                matches!(error, CallError::Interface(Error::NotUnderstood { ref reason }) if reason == "line 1")
            );
        });
    }
}
