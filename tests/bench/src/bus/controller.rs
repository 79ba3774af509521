//! dbus-broker's controller: it serves nothing until somebody hands it a listening socket and a policy.
//!
//! `dbus-broker --controller FD` speaks D-Bus on that descriptor. One call is all that is needed,
//! `org.bus1.DBus.Broker.AddListener(o path, h socket, v policy)` on `/org/bus1/DBus/Broker`. The policy's type, since
//! version 33: batches by uid (-1 is everybody else), batches by ranges of uids or groups, SELinux labels, AppArmor, and
//! the type of the bus. A batch is: may connect; names it may own; what it may send; what it may receive; each rule
//! with a verdict and a priority.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};

use anyhow::{Context, Result};
use bench_peer::dbus::{Connection, Head, Kind, Writer};
use sys::channel;

use crate::peer::inherited;

const POLICY: &str =
    "(a(u(bta(btbs)a(btssssuutt)a(btssssuutt)))a(buu(bta(btbs)a(btssssuutt)a(btssssuutt)))a(ss)bs)";
const EVERYBODY: u32 = u32::MAX;

/// Starts the broker, which then listens at `socket`. It ends when its controller, which is given too, hangs up.
pub(super) fn start(mut command: Command, socket: &Path) -> Result<(Child, Connection)> {
    let listener = UnixListener::bind(socket)?;
    // The broker takes it as it is.
    listener.set_nonblocking(true)?;
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = OwnedFd::from(theirs);
    command.arg("--controller").arg(theirs.as_raw_fd().to_string());
    command.arg("--machine-id").arg("0123456789abcdef0123456789abcdef");
    // Room for many 1 MiB messages; its default is meant for a desktop's.
    command.args([
        "--max-bytes",
        "536870912",
        "--max-fds",
        "256",
        "--max-matches",
        "256",
        "--max-objects",
        "4096",
    ]);
    let child = inherited(std::slice::from_ref(&theirs), || Ok(command.spawn()?))?;
    let mut controller = Connection::over(ours, nix::unistd::geteuid().as_raw()).context("controller")?;
    add_listener(&mut controller, &listener)?;
    Ok((child, controller))
}

fn add_listener(controller: &mut Connection, listener: &UnixListener) -> Result<()> {
    let head = Head {
        kind: Kind::Call,
        reply_serial: 0,
        destination: "",
        path: "/org/bus1/DBus/Broker",
        interface: "org.bus1.DBus.Broker",
        member: "AddListener",
        signature: "ohv",
        fds: 1,
    };
    let serial = controller.next_serial();
    let mut message = Vec::new();
    head.write(&mut message, serial, &arguments());
    channel::send(controller.stream().as_fd(), &message, &[listener.as_raw_fd()])?;
    controller.reply(serial).context("AddListener")?;
    Ok(())
}

fn arguments() -> Vec<u8> {
    let mut w = Writer::default();
    w.text("/org/bus1/DBus/Listener/0");
    w.u32(0);
    w.signature(POLICY);
    w.align(8);
    w.array(|w| {
        w.u32(EVERYBODY);
        batch(w);
    });
    w.array(|_| {});
    w.array(|_| {});
    w.bool(false);
    w.text("session");
    w.into_bytes()
}

/// Everything is allowed.
fn batch(w: &mut Writer) {
    w.align(8);
    allowed(w);
    w.array(|w| {
        allowed(w);
        // Every name with this prefix.
        w.bool(true);
        w.text("");
    });
    for _ in ["send", "receive"] {
        w.array(|w| {
            allowed(w);
            // Whatever name, path, interface, method, type; broadcast or not; any number of descriptors.
            (0..4).for_each(|_| w.text(""));
            w.u32(0);
            w.u32(0);
            w.u64(0);
            w.u64(u64::MAX);
        });
    }
}

fn allowed(w: &mut Writer) {
    w.bool(true);
    w.u64(1);
}
