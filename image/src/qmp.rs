//! QEMU's control socket: just enough of the protocol to press the power button and to pull a cable.
//!
//! The peer is our own child, so the answers are matched, not parsed.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

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
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut qmp = Self { stream: BufReader::new(stream) };
        qmp.line()?;
        qmp.execute("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Runs a command without arguments, as `system_powerdown`, `system_reset`, `stop`, `cont` or `quit`.
    pub fn execute(&mut self, command: &str) -> Result<()> {
        self.run(command, "{}")
    }

    /// Plugs the cable of the network device `name` in, or out.
    pub fn set_link(&mut self, name: &str, up: bool) -> Result<()> {
        self.run("set_link", &format!("{{\"name\":\"{name}\",\"up\":{up}}}"))
    }

    fn run(&mut self, command: &str, arguments: &str) -> Result<()> {
        writeln!(self.stream.get_mut(), "{{\"execute\":\"{command}\",\"arguments\":{arguments}}}")?;
        loop {
            let answer = self.line()?;
            // Events come in between and are nobody's answer.
            if answer.contains("\"return\"") {
                return Ok(());
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
