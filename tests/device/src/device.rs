//! A running device under test: its console, its agent, its power.

use crate::bench::Parts;
use crate::chain;
use crate::console::Console;
use crate::images;
use crate::off::Off;
use crate::site::CARD;
use crate::writes::Recorded;
use anyhow::{Context, Result, anyhow, bail, ensure};
use image::chain::disk::System;
use image::paths::Tree;
use image::qemu::{Disk, Machine, Running};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Longest wait for anything that should come soon. Only a failed test waits so long, and a machine that others use too
/// may be ten times slower than one that is idle.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// A running device. Dropping it cuts its power.
pub struct Device {
    machine: Running,
    console: Console,
    agent: BufReader<UnixStream>,
    /// How many questions it was asked.
    asked: u32,
    pub(crate) parts: Parts,
}

impl Device {
    pub(crate) fn start(mut parts: Parts) -> Result<Self> {
        if let (Some(site), None) = (&parts.bench.site, &parts.bench.card) {
            parts.bench.card = Some(site.card()?);
        }
        let at = |name: &str| parts.place.path().join(name);
        let mut machine = match parts.bench.board {
            Some(tamper) => chain::machine(&parts, tamper)?,
            None => Machine::new(&parts.bootable, &at("data.img"), &at("qmp")),
        };
        if let Some(recorded) = parts.bench.recorded {
            let wanted = |disk: &&mut Disk| {
                disk.writable && (disk.image == at("data.img")) == (recorded == Recorded::Data)
            };
            let disk = machine.disks.iter_mut().find(wanted).context("no disk to record")?;
            // Each boot of the machine has a record of its own.
            File::create(at("writes.log"))?;
            disk.log = Some(at("writes.log"));
        }
        machine.resets = parts.bench.resets;
        machine.memory_mib = parts.bench.memory_mib;
        machine.agent = Some(at("agent"));
        machine.developer = parts.bench.port.then(|| at("device.sock"));
        machine.die_with_thread = true;
        let mut words = parts.bootable.command_line();
        if !parts.bench.without.is_empty() {
            ensure!(
                words.contains(&parts.bench.without),
                "`{}` is not on the command line",
                parts.bench.without
            );
            words = words.replace(&parts.bench.without, "");
        }
        machine.command_line = words.replace("init=/sbin/init", "init=/sbin/test-agent") + &parts.bench.words;
        machine.extra.extend(parts.bench.card.iter().flatten().cloned());
        if parts.bench.usb {
            machine.extra.extend(["-device", "qemu-xhci"].map(str::to_owned));
        }
        if let Some(shows) = &parts.bench.clock {
            machine.extra.extend(["-rtc".to_owned(), format!("base={shows}")]);
        }
        let mut machine = match &parts.bench.site {
            // Whoever opens the tap must be where it is.
            Some(site) => site.inside(|| machine.spawn())?,
            None => machine.spawn()?,
        };
        let source = machine.console().context("the console is a pipe")?;
        let log = File::options().append(true).open(&parts.log)?;
        let console = Console::collect(source, log);
        if let Some(keyboard) = machine.keyboard() {
            chain::type_at(keyboard, console.clone());
        }
        let agent = connect(&parts.place.path().join("agent"))?;
        Ok(Self { console, machine, agent, asked: 0, parts })
    }

    /// The release on its board.
    ///
    /// # Errors
    /// It is on no board.
    pub fn system(&self) -> Result<System> {
        chain::system(&self.parts)
    }

    /// The app's files in the directory `name` of its store, as they were packed.
    pub fn packed(&self, name: &str) -> PathBuf {
        self.parts.place.path().join("apps").join(name)
    }

    /// What it has said.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Waits for a line that fits, said at any time; gives it. Panics when it does not come.
    #[track_caller]
    pub fn wait_for(&self, pattern: &str) -> String {
        self.wait_after(0, pattern)
    }

    /// Waits for a line that fits, said after `mark`. Panics when it does not come.
    #[track_caller]
    pub fn wait_after(&self, mark: usize, pattern: &str) -> String {
        self.must(self.console.wait(mark, pattern, PATIENCE))
    }

    /// Waits for so many lines that fit, said after `mark`. Panics when they do not come.
    #[track_caller]
    pub fn wait_count(&self, mark: usize, pattern: &str, count: usize, patience: Duration) -> String {
        self.must(self.console.wait_count(mark, pattern, count, patience))
    }

    #[track_caller]
    #[expect(clippy::panic, reason = "the failure of a test")]
    fn must<T>(&self, result: Result<T>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => panic!("{error:#}{}", self.how_it_ended()),
        }
    }

    /// How QEMU ended, for a failure's text; nothing while it runs. It stays to be waited for.
    fn how_it_ended(&self) -> String {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match i32::try_from(self.machine.id()).map(|pid| waitid(Id::Pid(Pid::from_raw(pid)), flags)) {
            Ok(Ok(WaitStatus::StillAlive)) => String::new(),
            ended => format!("\nQEMU is no more: {ended:?}"),
        }
    }

    /// The pid in the newest `event started` or `adopted` of the app `id`, once there is one.
    #[track_caller]
    pub fn pid(&self, id: &str) -> u32 {
        self.wait_for(&format!("gabion: event *ed id={id} uid=*pid="));
        let lines = self.console.lines(0, &format!("gabion: event *ed id={id} uid=*pid="));
        let pid = lines.last().and_then(|line| word(line, "pid")?.parse().ok());
        self.must(pid.context("an event with a pid"))
    }

    /// Asks the agent; gives the lines of its answer. Panics when there is none in time.
    #[track_caller]
    pub fn agent(&mut self, command: &str) -> Vec<String> {
        let answer = self.ask(command);
        self.must(answer.with_context(|| format!("asking the agent to {command}")))
    }

    /// As [`Device::agent`], for what may be refused.
    ///
    /// # Errors
    /// What the agent says went wrong.
    pub fn ask(&mut self, command: &str) -> Result<Vec<String>> {
        if self.asked == 0 {
            answer(&mut self.agent)?.1.context("the agent does not come up")?;
        }
        self.asked += 1;
        loop {
            writeln!(self.agent.get_mut(), "{} {command}", self.asked)?;
            // One that was asked before the device started anew is late; that it did is told first.
            let (number, answer) = loop {
                let (number, answer) = answer(&mut self.agent)?;
                if number == 0 || number == self.asked {
                    break (number, answer);
                }
            };
            if number != 0 {
                return answer;
            }
        }
    }

    /// Where a developer's device has its port on this machine.
    pub fn port(&self) -> PathBuf {
        self.parts.place.path().join("device.sock")
    }

    /// `gabion` with these arguments, for this device.
    ///
    /// # Errors
    /// It can not be built.
    pub fn gabion(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(images::gabion(&Tree::here()?)?);
        command.args(arguments).env("GABION_DEVICE", self.port()).env("GABION_TIMEOUT", "180");
        Ok(command)
    }

    /// The pids of processes with this owner and name.
    #[track_caller]
    pub fn pids(&mut self, uid: u32, comm: &str) -> Vec<u32> {
        let mut found = Vec::new();
        for line in self.agent("ps") {
            if let [pid, owner, name] = line.splitn(3, ' ').collect::<Vec<_>>()[..]
                && owner == uid.to_string()
                && name == comm
            {
                found.extend(pid.parse::<u32>());
            }
        }
        found
    }

    /// Plugs the cable of its network card in, or out.
    ///
    /// # Errors
    /// QEMU refuses; it has no network card.
    pub fn plug(&self, plugged: bool) -> Result<()> {
        self.machine.qmp()?.set_link(CARD, plugged)
    }

    /// Puts a USB disk in: this file, which it may read.
    ///
    /// # Errors
    /// QEMU refuses; there was one in since it was switched on, or it has no USB.
    pub fn put_in(&self, image: &Path) -> Result<()> {
        self.machine.qmp()?.put_in(image)
    }

    /// Pulls it out.
    ///
    /// # Errors
    /// QEMU refuses; it is not in.
    pub fn pull_out(&self) -> Result<()> {
        self.machine.qmp()?.pull_out()
    }

    /// What its battery-backed clock shows: year, month, day, UTC.
    ///
    /// # Errors
    /// QEMU does not tell.
    pub fn clock(&self) -> Result<[u32; 3]> {
        self.machine.qmp()?.clock()
    }

    /// Presses the power button and waits for the device to be off. Panics when it does not end by itself.
    #[track_caller]
    pub fn power_button(self) -> Off {
        self.must(self.machine.power_button());
        self.ended()
    }

    /// Cuts its power, as far as the device is concerned; what it has written to its disks is there.
    pub fn cut_power(mut self) -> Off {
        self.machine.kill();
        let Self { console, parts, .. } = self;
        Off { console, parts }
    }

    /// Waits for the device to switch itself off. Panics when it does not.
    #[track_caller]
    pub fn ended(mut self) -> Off {
        let ended = self.machine.wait(PATIENCE);
        if !matches!(&ended, Ok(Some(status)) if status.success()) {
            self.must::<()>(Err(anyhow!("the device did not end ({ended:?}); it said:\n{}", self.said())));
        }
        // The console ends with QEMU; what is still in the pipe belongs to it.
        self.must(self.console.wait_end(PATIENCE));
        let Self { console, parts, .. } = self;
        Off { console, parts }
    }

    fn said(&self) -> String {
        self.console.lines(0, "").join("\n")
    }
}

/// QEMU makes the socket; that takes a moment.
fn connect(socket: &Path) -> Result<BufReader<UnixStream>> {
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() >= deadline => return Err(error).context("the agent's port"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

/// The next answer, and to which question; 0 is the agent's first word. The terminal's echo before it is passed over.
fn answer(agent: &mut BufReader<UnixStream>) -> Result<(u32, Result<Vec<String>>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if agent.read_line(&mut line)? == 0 {
            bail!("the agent's port is closed");
        }
        let line = line.trim_end();
        if let Some(line) = line.strip_prefix("| ") {
            lines.push(line.to_owned());
        } else if let Some(number) = line.strip_prefix("ok ") {
            return Ok((number_of(number), Ok(lines)));
        } else if let Some(rest) = line.strip_prefix("error ") {
            let (number, why) = rest.split_once(' ').unwrap_or((rest, "it does not say why"));
            return Ok((number_of(number), Err(anyhow!("{why}"))));
        }
    }
}

/// A question that was asked while the device started may come to the agent in part: what is answered to that is nobody's.
fn number_of(word: &str) -> u32 {
    word.parse().unwrap_or(u32::MAX)
}

/// The value of `key=value` in an event.
pub fn word<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
}
