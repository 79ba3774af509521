//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use gabion::peer::Peer;
use lexopt::prelude::*;

/// What `--help` prints.
pub const HELP: &str = "\
Starts PROGRAM, and is the other end of its connections: TLS with the app's own certificate.

Usage: gabion-tls [OPTIONS] -- PROGRAM [ARGUMENT]...

  --connect PORT=HOST:PORT  what is connected to the first port, on the loopback, goes to HOST over TLS
  --serve PORT=PORT         what another device connects to the first port over TLS goes to the second, on the loopback
  --ca FILE                 trust these authorities (PEM) instead of the public ones, for --connect
  --peer-device ID          the other end is a device of this catalog, and this one
  --peer-app ID             the same, and this app of it
  --peer-group C/P/G        the same, and of this catalog, product and group
  --help                    this text

With one of --peer-…, and for --serve always, the other end is judged by its device's certificate, not by a host name.
The manifest needs [uses] \"os.gabion.Certificate\" = [\"GetChain\", \"GetAuthorities\", \"Sign\"], each host of --connect below
[network] connect, \"localhost:PORT/tcp\" below [network] listen for each port of --connect, and the port of --serve.
";

/// What is wrong with the command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; see gabion-tls --help", self.0)
    }
}

impl std::error::Error for Wrong {}

impl From<lexopt::Error> for Wrong {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

/// From a port of the loopback to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Where the program connects.
    pub port: u16,
    /// A name or an address.
    pub host: String,
    /// TCP.
    pub to: u16,
}

/// From a port of the device to one of the loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serve {
    /// Where others connect.
    pub port: u16,
    /// Where the program listens.
    pub to: u16,
}

/// The command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--connect`.
    pub connect: Vec<Connect>,
    /// `--serve`.
    pub serve: Vec<Serve>,
    /// `--ca`.
    pub authorities: Option<OsString>,
    /// `--peer-…`; `None` when none of them was given.
    pub peer: Option<Peer>,
    /// The program and its arguments; empty for `--help`.
    pub program: Vec<OsString>,
}

impl Options {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Wrong> {
        let mut options = Self::default();
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("connect") => options.connect.push(parser.value()?.parse()?),
                Long("serve") => options.serve.push(parser.value()?.parse()?),
                Long("ca") => options.authorities = Some(parser.value()?),
                Long("peer-device") => options.peer().device = Some(parser.value()?.string()?),
                Long("peer-app") => options.peer().app = Some(parser.value()?.string()?),
                Long("peer-group") => options.peer().group = Some(parser.value()?.string()?),
                Long("help") => return Ok(Self::default()),
                Value(program) => {
                    options.program.push(program);
                    options.program.extend(parser.raw_args()?);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        if options.program.is_empty() {
            return Err(Wrong("no program is named".to_owned()));
        }
        if options.connect.is_empty() && options.serve.is_empty() {
            return Err(Wrong("neither --connect nor --serve is there".to_owned()));
        }
        Ok(options)
    }

    fn peer(&mut self) -> &mut Peer {
        self.peer.get_or_insert_default()
    }
}

impl FromStr for Connect {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong(format!("--connect wants PORT=HOST:PORT, not \"{text}\""));
        let (port, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (host, to) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let good = !host.is_empty();
        let (port, to) = (port_of(port).ok_or_else(wrong)?, port_of(to).ok_or_else(wrong)?);
        good.then(|| Self { port, host: host.to_owned(), to }).ok_or_else(wrong)
    }
}

impl FromStr for Serve {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let ports = text.split_once('=').and_then(|(port, to)| Some((port_of(port)?, port_of(to)?)));
        let (port, to) = ports.ok_or_else(|| Wrong(format!("--serve wants PORT=PORT, not \"{text}\"")))?;
        Ok(Self { port, to })
    }
}

fn port_of(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, Wrong> {
        Options::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn command_line_names_ports_and_a_program_with_its_own_options() {
        let options = read(
            "--connect 1883=mqtt.example.com:8883 --serve 8443=80 --peer-app com.example.a -- /bin/x --connect y",
        );
        let options = options.unwrap();
        let to = Connect { port: 1883, host: "mqtt.example.com".to_owned(), to: 8883 };
        assert_eq!((options.connect, options.serve), (vec![to], vec![Serve { port: 8443, to: 80 }]));
        assert_eq!(options.program, ["/bin/x", "--connect", "y"]);
        assert_eq!(options.peer.unwrap().app.as_deref(), Some("com.example.a"));
        let v6 = read("--connect 1=[fd00::1]:2 x").unwrap();
        assert_eq!(v6.connect[0].host, "fd00::1");
    }

    #[test]
    fn command_line_with_a_fault_says_what_is_wanted() {
        for line in
            ["", "x", "--connect 1883 x", "--connect 0=a:1 x", "--connect 1=:1 x", "--serve 1 x", "--what x"]
        {
            assert!(read(line).unwrap_err().to_string().contains("--help"), "{line}");
        }
        assert!(read("--connect 1=a:1").is_err());
        assert!(read("--help").unwrap().program.is_empty());
    }
}
