//! What the router says when it hands a connection over, read by the server.

use serde::Deserialize;

/// A connection that is handed over, with the socket as descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Handover {
    /// The connection's number: unique on the device until the next boot.
    pub serial: u64,
    /// The id of the app that connected.
    pub app: String,
    /// Its box.
    pub uid: u32,
    /// Whether it is one of the system's own boxes.
    pub system: bool,
    /// The interface.
    pub interface: String,
    /// The methods that may be called on this connection, without the interface's name.
    pub methods: Vec<String>,
    /// Longest message that may be read, bytes, its NUL counted.
    pub message_bytes: u32,
}

/// A message of the router.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum FromRouter {
    /// A connection.
    Handover(Handover),
    /// A switch.
    Monitor(Monitor),
}

/// What the router tells a server besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitor {
    /// Tell of every call, or no longer.
    pub monitor: bool,
}

/// Reads a message of the router.
///
/// # Errors
/// It is none of these; with what is wrong, for the record.
pub fn read(message: &[u8]) -> Result<FromRouter, serde_json::Error> {
    serde_json::from_slice(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Grant, Key, Limits};
    use crate::handover;

    #[test]
    fn handover_is_read_as_the_router_writes_it() {
        let key = Key { uid: 10_003, interface: "com.example.Temperature".into() };
        let methods = vec!["Get".to_owned(), "Watch".to_owned()];
        let grant = Grant { server: 9, methods: methods.clone(), limits: Limits::default() };
        let written = handover::Handover {
            serial: 17,
            app: "com.example.\"b",
            key: &key,
            system: false,
            grant: &grant,
        };
        let expected = Handover {
            serial: 17,
            app: "com.example.\"b".into(),
            uid: 10_003,
            system: false,
            interface: key.interface.clone(),
            methods,
            message_bytes: 65_536,
        };
        assert_eq!(read(written.encode().as_bytes()).unwrap(), FromRouter::Handover(expected));
    }

    #[test]
    fn monitor_is_read_and_anything_else_is_not() {
        for on in [true, false] {
            let read = read(handover::monitor(on).as_bytes()).unwrap();
            assert_eq!(read, FromRouter::Monitor(Monitor { monitor: on }));
        }
        assert!(read(b"{}").is_err());
        assert!(read(b"{\"monitor\":true,\"serial\":1}").is_err());
        assert!(read(b"").is_err());
    }
}
