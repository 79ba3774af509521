//! `make run`: build what is missing, boot, show the console, and end cleanly on Ctrl-C.
//!
//! The device is a folder, `device/` below [`Tree::out`]: its board and its data disk. A second run is the same device, one
//! release further if the tree has changed.

use crate::assemble::{self, Audience, Bootable};
use crate::board::Board;
use crate::chain::disk::{self, System};
use crate::chain::keys::Keys;
use crate::paths::Tree;
use crate::qemu::{DATA_BYTES, Machine, Running, blank_disk, network_of_one};
use crate::say;
use crate::store::Settings;
use anyhow::{Context, Result, anyhow, bail};
use bus::devport::DOOR_PORT;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The device's socket for `gabion`, below [`Tree::out`].
const SOCKET: &str = "device.sock";
/// The port that the demo's web server listens on, by its manifest.
const PAGE_PORT: u16 = 8080;
/// The port of a Security Service on this machine.
const SERVICE_PORT: u16 = 8443;
/// Longest orderly shutdown that is waited for: every app's stop time runs in parallel, at most a few seconds here.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// How the demo is booted.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory of the machine, MiB.
    pub memory_mib: u32,
    /// Another device than the last run's: new board, blank data disk.
    pub fresh: bool,
    /// More words for the kernel's command line; signed like the rest of it.
    pub append: Vec<String>,
    /// QEMU starts the kernel: no firmware, no TPM, nothing verified before the root.
    pub direct: bool,
    /// Whom the image is for.
    pub audience: Audience,
    /// What is in the store beside the apps.
    pub settings: Settings,
}

/// Builds and boots the demo, until it is switched off.
pub fn run(tree: &Tree, options: &Options) -> Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let bootable = assemble::demo_with(tree, options.audience, &options.settings)?;
    let _lock = alone(tree)?;
    let page = free_port(PAGE_PORT).context("no port of 127.0.0.1 is free for the demo's page")?;
    let door = free_port(DOOR_PORT).context("no port of 127.0.0.1 is free for the device's door")?;
    let mut machine = boot(tree, &bootable, options, [(page, PAGE_PORT), (door, DOOR_PORT)])?;
    // Only from here on does Ctrl-C mean "switch the device off"; before, it ends the build.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let log = tree.out().join("console.log");
    if !options.direct {
        say(
            "run",
            "the firmware checks and starts what is on the disk; without KVM that takes some ten seconds",
        );
    }
    say("run", format_args!("booting; Ctrl-C switches the device off (console also in {})", log.display()));
    say("run", format_args!("once the device has its address, its page is at http://127.0.0.1:{page}/"));
    if options.settings.service.is_some() {
        say("run", format_args!("while it is in developer mode, its door is at tls://127.0.0.1:{door}"));
    }
    if options.audience == Audience::Developers {
        let socket = tree.out().join(SOCKET);
        say("run", format_args!("`gabion bus list` talks to it, by {}", socket.display()));
    }
    let console = machine.console().context("the console is a pipe")?;
    let shown = std::thread::spawn(move || show(console, File::create(log)?));
    let outcome = supervise(&mut machine, &interrupted);
    machine.kill();
    match shown.join() {
        Ok(shown) => shown.context("showing the console")?,
        Err(_) => bail!("the thread that shows the console failed"),
    }
    outcome
}

/// One device has one data disk, and one set of sockets.
fn alone(tree: &Tree) -> Result<Flock<File>> {
    let file = File::create(tree.out().join("run.lock"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow!("this tree's device is running already; end that one first"))
}

/// The port's own number if nobody has it on this machine, else any. Somebody may take it before QEMU does, and QEMU
/// says so.
fn free_port(own: u16) -> std::io::Result<u16> {
    let try_one = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr();
    Ok(try_one(own).or_else(|_| try_one(0))?.port())
}

fn boot(tree: &Tree, bootable: &Bootable, options: &Options, forwards: [(u16, u16); 2]) -> Result<Running> {
    let device = tree.out().join("device");
    if options.fresh && device.exists() {
        fs::remove_dir_all(&device).with_context(|| format!("removing {}", device.display()))?;
    }
    fs::create_dir_all(&device).with_context(|| format!("making {}", device.display()))?;
    // What a device without a TPM stores is not sealed, and so is another disk.
    let data = device.join(if options.direct { "data-direct.img" } else { "data.img" });
    if !data.exists() {
        blank_disk(&data, DATA_BYTES)?;
    }
    // A path of the tree may be longer than a socket's may be.
    let qmp = std::env::temp_dir().join(format!("gabion-{}.qmp", std::process::id()));
    let mut machine = match options.direct {
        true => {
            let mut machine = Machine::new(bootable, &data, &qmp);
            for word in &options.append {
                machine.command_line.push(' ');
                machine.command_line.push_str(word);
            }
            machine
        }
        false => {
            let keys = Keys::of(tree)?;
            let system = release(tree, bootable, &options.append)?;
            if options.settings.service.is_some() {
                say("run", format_args!("to be published: {}", system.reference.display()));
            }
            let board = Board::new(tree, &keys, &device)?;
            board.flash(&system)?;
            Machine::on_board(bootable, &board, &tree.layout.says, &data, &qmp)?
        }
    };
    machine.resets = !options.direct;
    machine.memory_mib = options.memory_mib;
    if options.audience == Audience::Developers {
        machine.developer = Some(tree.out().join(SOCKET));
    }
    machine.die_with_thread = true;
    machine
        .extra
        .extend(network_of_one(&forwards, options.settings.service.is_some().then_some(SERVICE_PORT)));
    machine.spawn()
}

/// The release that the tree is for, of `bootable`.
///
/// # Errors
/// As those of [`disk::build`].
pub fn release(tree: &Tree, bootable: &Bootable, words: &[String]) -> Result<System> {
    let image = match bootable.audience {
        Audience::Production => "system.img",
        Audience::Developers => "system-developer.img",
    };
    disk::build(tree, bootable, &Keys::of(tree)?, words, &tree.image(image))
}

/// Waits for the machine to end by itself, or for an interrupt and then for the orderly shutdown.
fn supervise(machine: &mut Running, interrupted: &AtomicBool) -> Result<()> {
    while !interrupted.load(Ordering::Relaxed) {
        if let Some(status) = machine.wait(Duration::from_millis(100))? {
            return ended(status);
        }
    }
    eprintln!();
    say("run", "switching the device off");
    machine.power_button()?;
    match machine.wait(SHUTDOWN)? {
        Some(status) => ended(status),
        None => bail!("the device did not switch itself off within {} s; ended it", SHUTDOWN.as_secs()),
    }
}

fn ended(status: std::process::ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("QEMU ended with {status}");
    }
    say("run", "the device is off");
    Ok(())
}

/// Copies the console to our output and to a file, byte for byte, as it comes.
fn show(mut console: impl Read, mut log: File) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    let mut output = std::io::stdout();
    loop {
        let length = console.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        log.write_all(bytes)?;
        // Nobody listening is no reason to stop the device: it is switched off by the signal that comes with it.
        let _ = output.write_all(bytes).and_then(|()| output.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_that_is_taken_is_not_chosen() {
        // Whoever holds the usual one, this test or another program: it is taken.
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, PAGE_PORT));
        let port = free_port(PAGE_PORT).unwrap();
        assert_ne!(port, PAGE_PORT);
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[test]
    fn page_port_is_what_the_demo_listens_on() {
        let manifest = include_str!("../demo/org.gabion.demo.web/manifest.toml");
        assert!(manifest.contains(&format!("listen = [\"{PAGE_PORT}/tcp\"]")));
    }
}
