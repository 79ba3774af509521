//! The programs, as instructions.

/// Where a program is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A socket is made.
    Create,
    /// `bind` of an IPv4 socket.
    Bind4,
    /// `bind` of an IPv6 socket.
    Bind6,
    /// `connect` of an IPv4 socket.
    Connect4,
    /// `connect` of an IPv6 socket.
    Connect6,
    /// UDP to an IPv4 address without a connection.
    Sendmsg4,
    /// UDP to an IPv6 address without a connection.
    Sendmsg6,
    /// A packet that leaves.
    Egress,
    /// A packet that arrives.
    Ingress,
}

/// A table that programs and `netd` share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// [`crate::tables::App`] by uid.
    Apps,
    /// [`crate::tables::Rule`] by [`crate::tables::Key`].
    Rules,
    /// UDP that is under way.
    Flows,
    /// How much each app was told of.
    Paces,
    /// The ring of [`crate::tables::Refusal`].
    Refusals,
}

/// Every table, in the order in which their descriptors travel.
pub const TABLES: [Table; 5] = [Table::Apps, Table::Rules, Table::Flows, Table::Paces, Table::Refusals];

/// One program.
#[derive(Debug)]
pub struct Program {
    /// Where it goes.
    pub hook: Hook,
    /// Its instructions, as the kernel takes them.
    pub code: &'static [u64],
    /// Which instructions load the descriptor of which table.
    pub tables: &'static [(usize, Table)],
}

/// All of them. No helper that they call asks for a licence.
pub const PROGRAMS: &[Program] = include!(concat!(env!("OUT_DIR"), "/programs.rs"));

/// The licence that the kernel is told.
pub const LICENCE: &std::ffi::CStr = c"MIT";
