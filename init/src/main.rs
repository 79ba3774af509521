//! PID 1. Mounts, the cgroup tree, then one loop: launch bundles, reap, restart, shut down.
//!
//! Invariants: one thread; no call that waits for anybody; nothing parsed that an app or the network wrote; no
//! panic path. `sandboxd` may die at any time: what is kept here goes on, restarts included.
//! When it cannot go on, it writes its epitaph and reboots (the kernel's `panic=` would do the same).
//!
//! An attacker who controls an app controls nothing here but the moment and the status of its own exit.

mod backoff;
mod boot;
mod boxes;
mod control;
mod manager;
mod poller;
mod report;
mod run;
mod shutdown;
mod unheard;

use report::say;

fn main() {
    let ended = boot::prepare().and_then(|()| run::Init::new()).and_then(|mut init| init.run());
    say!("init ended: {ended:?}; rebooting in 3 s");
    std::thread::sleep(std::time::Duration::from_secs(3));
    shutdown::end(sys::bundle::Power::Reboot);
}
