//! The thread's own network namespace, and a cable to one with name servers.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};
use simple_dns::TYPE;
use tempfile::TempDir;

use super::app::question;

/// Where servers are.
pub(super) const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
/// Of `time.example`, valid from 2026 to 2124, with its key and authority.
pub(super) const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");

const PATIENCE: Duration = Duration::from_secs(30);

/// A network namespace for this thread, with a loopback.
pub(super) fn alone() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace: the tests run as root")?;
    run("ip link set lo up")
}

pub(super) struct Site {
    name: String,
    folder: TempDir,
    server: Option<Child>,
}

impl Site {
    pub(super) fn new() -> Result<Self> {
        alone()?;
        let folder = tempfile::tempdir()?;
        let name =
            format!("gabion-dns-{}", folder.path().file_name().unwrap().to_string_lossy().replace('.', ""));
        let site = Self { name, folder, server: None };
        let name = &site.name;
        run(&format!(
            "ip netns add {name}
             ip link add cable type veth peer name cable netns {name}
             ip addr add 10.9.0.9/24 dev cable
             ip link set cable up
             ip -n {name} addr add {SERVER}/24 dev cable
             ip -n {name} link set cable up
             ip -n {name} link set lo up"
        ))?;
        Ok(site)
    }

    /// dnsmasq that has these names, and no others below `example`: each with addresses, or the name that it is another
    /// name of.
    pub(super) fn dnsmasq(&mut self, names: &[(&str, &[&str])]) -> Result<()> {
        let mut text = format!(
            "keep-in-foreground\nno-resolv\nno-hosts\nuser=root\nlisten-address={SERVER}\nbind-interfaces\npid-file=\n\
             local=/example/\nlocal-ttl=60\n"
        );
        for (name, values) in names {
            for value in *values {
                match value.parse::<IpAddr>() {
                    Ok(address) => writeln!(text, "host-record={name},{address}")?,
                    Err(_) => writeln!(text, "cname={name},{value}")?,
                }
            }
        }
        let file = self.folder.path().join("dnsmasq.conf");
        std::fs::write(&file, text)?;
        self.serve("dnsmasq", &[&format!("--conf-file={}", file.display())])
    }

    /// unbound that has these names, and no others below `example`, by UDP, TCP and TLS. What is not there, is not for 30
    /// seconds.
    pub(super) fn unbound(&mut self, names: &[(&str, &[&str])]) -> Result<()> {
        let folder = self.folder.path().display().to_string();
        let mut zone = "example. 60 IN SOA example. example. 1 3600 600 86400 30\n".to_owned();
        for (name, values) in names {
            for value in *values {
                match value.parse::<IpAddr>() {
                    Ok(IpAddr::V4(address)) => writeln!(zone, "{name}. 60 IN A {address}")?,
                    Ok(IpAddr::V6(address)) => writeln!(zone, "{name}. 60 IN AAAA {address}")?,
                    Err(_) => writeln!(zone, "{name}. 60 IN CNAME {value}.")?,
                }
            }
        }
        std::fs::write(self.folder.path().join("zone"), zone)?;
        let text = format!(
            "server:\n interface: {SERVER}@53\n interface: {SERVER}@853\n tls-port: 853\n\
             \x20tls-service-key: \"{CERTIFICATES}/server.key\"\n tls-service-pem: \"{CERTIFICATES}/server.pem\"\n\
             \x20access-control: 0.0.0.0/0 allow\n do-daemonize: no\n chroot: \"\"\n username: \"\"\n directory: \"{folder}\"\n\
             \x20pidfile: \"\"\n use-syslog: no\n module-config: \"iterator\"\n num-threads: 1\n\
             remote-control:\n control-enable: no\n\
             auth-zone:\n name: \"example.\"\n zonefile: \"{folder}/zone\"\n for-downstream: yes\n for-upstream: no\n"
        );
        let file = self.folder.path().join("unbound.conf");
        std::fs::write(&file, text)?;
        self.serve("unbound", &["-d", "-c", &file.display().to_string()])
    }

    fn serve(&mut self, program: &str, arguments: &[&str]) -> Result<()> {
        self.end_server();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).args(arguments).stdin(Stdio::null());
        self.server =
            Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context(program.to_owned())?);
        ensure!(answers(SocketAddr::new(SERVER, 53))?, "{program} does not answer");
        Ok(())
    }

    pub(super) fn end_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.end_server();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Waits until a server answers.
fn answers(server: SocketAddr) -> Result<bool> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        socket.connect(server)?;
        let _ = socket.send(&question(1, "plain.example", TYPE::A, false));
        match socket.recv(&mut [0; 512]) {
            Ok(_) => return Ok(true),
            // Nobody is there yet, or says anything.
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    Ok(false)
}

fn run(script: &str) -> Result<()> {
    let status = Command::new("sh").args(["-ec", script]).status().context("sh")?;
    ensure!(status.success(), "{script}");
    Ok(())
}
