//! What a connection may do, and whose it is.

use crate::interface::{Interface, MethodInfo};
use crate::server::Handover;

/// Who calls, as the router said it. Nothing a peer says changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The connection's number.
    pub serial: u64,
    /// The app's id.
    pub app: String,
    /// Its box.
    pub uid: u32,
    /// Whether it is one of the system's own boxes.
    pub system: bool,
}

/// What a connection may do.
#[derive(Debug)]
pub struct Granted {
    /// Who has it.
    pub caller: Caller,
    /// The one interface, besides `org.varlink.service`.
    pub interface: &'static Interface,
    /// For each of its methods, whether it is granted.
    allowed: Box<[bool]>,
    pub(super) message_bytes: usize,
}

impl Granted {
    /// From what the router said. Methods that the interface does not have cannot be called and are passed over.
    pub fn new(handover: Handover, interface: &'static Interface) -> Self {
        let named = |method: &MethodInfo| handover.methods.iter().any(|name| name == method.name);
        Self {
            interface,
            allowed: interface.methods.iter().map(named).collect(),
            message_bytes: usize::try_from(handover.message_bytes).unwrap_or(usize::MAX),
            caller: Caller {
                serial: handover.serial,
                app: handover.app,
                uid: handover.uid,
                system: handover.system,
            },
        }
    }

    /// Longest message that is read, bytes.
    pub(crate) fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    pub(super) fn allows(&self, index: usize) -> bool {
        self.allowed.get(index).copied().unwrap_or(false)
    }
}

/// The line of a manifest that grants a method.
pub fn manifest_line(interface: &str, method: &str) -> String {
    format!("[uses] \"{interface}\" = [\"{method}\"]")
}
