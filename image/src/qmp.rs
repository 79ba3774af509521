//! QEMU's control socket: just enough of the protocol to press the power button, to pull a cable, to put a disk in and to
//! read the battery-backed clock.
//!
//! The peer is our own child, so the answers are matched, not parsed.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// QEMU's name of the USB disk.
const STICK: &str = "stick";

/// Longest wait for an answer, and for the socket: both come at once unless the machine is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A connection in command mode.
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects, waiting up to `patience` for QEMU to open the socket.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= deadline => {
                    return Err(error).with_context(|| format!("connecting to {}", socket.display()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut qmp = Self { stream: BufReader::new(stream) };
        qmp.line()?;
        qmp.execute("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Runs a command without arguments, as `system_powerdown`, `system_reset`, `stop`, `cont` or `quit`.
    pub fn execute(&mut self, command: &str) -> Result<()> {
        self.run(command, "{}").map(drop)
    }

    /// Plugs the cable of the network device `name` in, or out.
    pub fn set_link(&mut self, name: &str, up: bool) -> Result<()> {
        self.run("set_link", &format!("{{\"name\":\"{name}\",\"up\":{up}}}")).map(drop)
    }

    /// Puts a USB disk in: this file, which the device may read. Once in the machine's life.
    pub fn put_in(&mut self, image: &Path) -> Result<()> {
        let file = format!("{{\"driver\":\"file\",\"filename\":{:?}}}", image.to_string_lossy());
        let disk =
            format!("{{\"driver\":\"raw\",\"node-name\":\"{STICK}\",\"read-only\":true,\"file\":{file}}}");
        self.run("blockdev-add", &disk)?;
        let device = format!("{{\"driver\":\"usb-storage\",\"id\":\"{STICK}\",\"drive\":\"{STICK}\"}}");
        self.run("device_add", &device).map(drop)
    }

    /// Pulls it out.
    pub fn pull_out(&mut self) -> Result<()> {
        self.run("device_del", &format!("{{\"id\":\"{STICK}\"}}")).map(drop)
    }

    /// What the battery-backed clock shows: year, month, day, UTC.
    pub fn clock(&mut self) -> Result<[u32; 3]> {
        let answer = self.run("qom-get", "{\"path\":\"/machine\",\"property\":\"rtc-time\"}")?;
        let number = |key: &str| {
            let (_, rest) = answer.split_once(&format!("\"{key}\": "))?;
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            rest.get(..digits)?.parse::<u32>().ok()
        };
        let read = || Some([number("tm_year")? + 1900, number("tm_mon")? + 1, number("tm_mday")?]);
        read().with_context(|| format!("no time: {answer}"))
    }

    fn run(&mut self, command: &str, arguments: &str) -> Result<String> {
        writeln!(self.stream.get_mut(), "{{\"execute\":\"{command}\",\"arguments\":{arguments}}}")?;
        loop {
            let answer = self.line()?;
            // Events come in between and are nobody's answer.
            if answer.contains("\"return\"") {
                return Ok(answer);
            }
            if answer.contains("\"error\"") {
                bail!("QEMU refused {command}: {answer}");
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("QEMU closed its control socket");
        }
        Ok(line.trim().to_owned())
    }
}
