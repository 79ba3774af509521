//! What fuzzers call, one function for each parser of outside bytes: whatever the bytes are, it returns, and what is checked
//! in it holds.
//!
//! | module | whose parsers |
//! |---|---|
//! | [`init`] | PID 1's, and the other end of its socket |
//! | [`policy`] | manifests and plans |
//! | [`sandboxd`] | what apps, the kernel, the disk and the store tell it |
//! | [`bus`] | messages on the bus and about it |
//! | [`package`] | what an app's author packs |
//! | [`time`] | what time servers answer |
//! | [`mdns`] | what anybody on the link says |
//! | [`evidence`] | what a device shows of itself to whoever checks it |
//! | [`attest`] | what has to do with the device's identity |
//! | [`disk`] | the system's disk, and a kernel image that came |
//! | [`update`] | what updates are told by |
//! | [`service`] | what is sent to the Security Service, and what it answers |
//! | [`net`] | what else the network daemon reads |
//! | [`payload`] | what a device downloads to renew itself |
//!
//! Deliberately not here: what the kernel parses (file systems, filters), and parsers of others alone (`toml`, `serde_json`,
//! `elf`), which are fuzzed with ours around them.

pub mod attest;
pub mod bus;
pub mod disk;
pub mod evidence;
pub mod init;
pub mod mdns;
pub mod net;
pub mod package;
pub mod payload;
pub mod policy;
pub mod sandboxd;
pub mod service;
pub mod time;
pub mod update;

/// A parser under test.
pub type Entry = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Entry)] = &[
    ("request", init::request),
    ("event", init::event),
    ("manifest", policy::manifest),
    ("plan", policy::plan),
    ("kept", policy::kept),
    ("cmdline", sandboxd::cmdline),
    ("registry", sandboxd::registry),
    ("ledger", sandboxd::ledger),
    ("store", sandboxd::store),
    ("notify", sandboxd::notify),
    ("line", sandboxd::line),
    ("logs", sandboxd::logs),
    ("audit", sandboxd::audit),
    ("call", bus::call),
    ("session", bus::session),
    ("reply", bus::reply),
    ("handover", bus::handover),
    ("report", bus::report),
    ("control", bus::control),
    ("desk", bus::desk),
    ("devport", bus::devport),
    ("package", package::package),
    ("image", package::image),
    ("gab", package::gab),
    ("sntp", time::sntp),
    ("nts", time::nts),
    ("mdns", mdns::mdns),
    ("question", net::question),
    ("answer", net::answer),
    ("lease", net::lease),
    ("frame", net::frame),
    ("advert", net::advert),
    ("network", net::network),
    ("netlink", net::netlink),
    ("attestlink", attest::attestlink),
    ("permit", attest::permit),
    ("tpm", attest::tpm),
    ("sealed", attest::sealed),
    ("luks", attest::luks),
    ("reports", sandboxd::reports),
    ("disk", disk::disk),
    ("kernelimage", disk::kernelimage),
    ("payload", payload::index),
    ("segment", payload::segment),
    ("bootlog", evidence::bootlog),
    ("packagelog", evidence::packagelog),
    ("statement", evidence::statement),
    ("reference", evidence::reference),
    ("metadata", update::metadata),
    ("update", update::update),
    ("release", update::release),
    ("archive", update::archive),
    ("body", service::body),
    ("csr", service::csr),
];

/// Whatever is a message encodes to itself, no longer.
fn encodes_to_itself<M: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: fn(&[u8]) -> Option<M>,
    encode: fn(&M) -> Vec<u8>,
) {
    if let Some(message) = decode(bytes) {
        let again = encode(&message);
        assert!(again.len() <= bytes.len());
        assert_eq!(decode(&again), Some(message));
    }
}

/// Whether `text` can be shown on one line as it is.
fn is_printable(text: &str) -> bool {
    ::sandboxd::line::escape(text.as_bytes()) == text && !text.contains('\t')
}
