//! The servers of a site: Debian's, each with a configuration of a few lines.
//!
//! dnsmasq and chronyd are this machine's own. The others run in the root that was packed of their packages for an app
//! (`image::pack`), so that nothing has to be installed, and nothing that is installed starts by itself.

use super::{HOSTS, ROUTER, ROUTER_6, Site, TRAPS};
use crate::console::Console;
use crate::device::PATIENCE;
use anyhow::{Context, Result};
use image::command::tool;
use image::{assemble, pack, stage};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running server. Dropping it ends it.
pub struct Server {
    name: &'static str,
    child: Child,
    console: Console,
}

impl Server {
    /// Starts it in the site's network and waits until it says `ready`, which it does on its standard error.
    ///
    /// # Errors
    /// It does not start, or not in time.
    pub fn start(
        site: &Site,
        name: &'static str,
        program: &Path,
        words: &[&str],
        ready: &str,
    ) -> Result<Self> {
        let mut child = site.inside(|| {
            // It ends with this thread, even if that is killed.
            let mut command = tool("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(words);
            Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
        })?;
        let said = child.stderr.take().context("a pipe")?;
        let console = Console::collect(said, File::create(site.folder("logs")?.join(name))?);
        let server = Self { name, child, console };
        server.console.wait(0, ready, PATIENCE).with_context(|| format!("starting {name}"))?;
        Ok(server)
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it has said.
    pub fn console(&self) -> &Console {
        &self.console
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either it ran and is dead now, or it was dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a site tells its devices beside addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tells {
    /// Nothing.
    Addresses,
    /// Whose router leads elsewhere.
    Routes,
    /// And a name server, which does not answer.
    Servers,
    /// And names.
    Names,
}

/// Addresses, routes and names, by DHCP, router advertisements and DNS.
///
/// # Errors
/// It does not start.
pub fn dnsmasq(site: &Site) -> Result<Server> {
    dnsmasq_that(site, Tells::Names)
}

/// The same, for as far as it goes.
///
/// # Errors
/// It does not start.
pub fn dnsmasq_that(site: &Site, tells: Tells) -> Result<Server> {
    let folder = site.folder("dnsmasq")?;
    let mut text = format!(
        "user=root\nno-resolv\nno-hosts\nno-ping\nlog-queries\nlog-dhcp\nlog-facility=-\nlocal-ttl=60\nbind-interfaces\n\
         interface=br0\nexcept-interface=lo\nlocal=/example/\ndhcp-authoritative\ndhcp-leasefile={}\npid-file=\n\
         dhcp-range=10.77.0.50,10.77.0.99,2h\n",
        folder.join("leases").display()
    );
    text += &match tells {
        // Of itself it tells that it is the router.
        Tells::Addresses => "dhcp-option=option:router\n".to_owned(),
        _ => format!("dhcp-option=option:router,{ROUTER}\nenable-ra\ndhcp-range=2001:db8:77::,ra-only,64\n"),
    };
    if tells >= Tells::Servers {
        text += &format!(
            "dhcp-option=option:dns-server,{ROUTER}\ndhcp-option=option:ntp-server,{ROUTER}\n\
             dhcp-option=option6:dns-server,[{ROUTER_6}]\n"
        );
    }
    if tells < Tells::Names {
        text += "port=0\n";
    }
    for (name, v4, v6) in HOSTS {
        text += &format!("host-record={name},{v4},{v6}\n");
    }
    for (name, addresses) in TRAPS {
        text += &format!("host-record={name},{addresses}\n");
    }
    for number in 0..4 {
        text += &format!("dhcp-host={},{}\n", super::hardware(number), super::device(number));
    }
    let configuration = folder.join("conf");
    fs::write(&configuration, text)?;
    let conf = format!("--conf-file={}", configuration.display());
    Server::start(site, "dnsmasq", Path::new("dnsmasq"), &["--keep-in-foreground", &conf], "started, version")
}

/// This machine's time; it sets no clock.
///
/// # Errors
/// It does not start.
pub fn chronyd(site: &Site) -> Result<Server> {
    let folder = site.folder("chronyd")?;
    let configuration = folder.join("conf");
    let pid = folder.join("pid");
    fs::write(
        &configuration,
        format!("local stratum 3\nallow all\ncmdport 0\nbindcmdaddress /\npidfile {}\n", pid.display()),
    )?;
    let conf = configuration.to_string_lossy();
    Server::start(site, "chronyd", Path::new("chronyd"), &["-x", "-d", "-u", "root", "-f", &conf], "version")
}

/// Pages at every address of the site, ports 80 and 443.
///
/// # Errors
/// It does not start.
pub fn nginx(site: &Site) -> Result<Server> {
    let root = packed(site, &site.tree().root.join("tests/programs/apps/nginx"), "nginx")?;
    fs::write(
        root.join("site.conf"),
        "user root root; daemon off; master_process off; pid /tmp/pid; error_log stderr notice; events {}\n\
         http { access_log off; client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; \
         uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e; server { listen 80; listen [::]:80; listen 443 ssl; \
         listen [::]:443 ssl; ssl_certificate /cert.pem; ssl_certificate_key /key.pem; \
         location / { return 200 \"hello from $host to $remote_addr\\n\"; } } }\n",
    )?;
    chrooted(
        site,
        "nginx",
        &root,
        &["/usr/sbin/nginx", "-e", "stderr", "-c", "/site.conf"],
        "getrlimit(RLIMIT_NOFILE)",
    )
}

/// MQTT over TLS on `broker.example`, port 8883.
///
/// # Errors
/// It does not start.
pub fn mosquitto(site: &Site) -> Result<Server> {
    let root = packed(site, &site.tree().demo().join("org.gabion.demo.broker"), "mosquitto")?;
    fs::write(
        root.join("site.conf"),
        "user root\nallow_anonymous true\nlog_dest stderr\nlog_type all\nlistener 8883\ncafile /ca.pem\ncertfile /cert.pem\n\
         keyfile /key.pem\n",
    )?;
    chrooted(site, "mosquitto", &root, &["/usr/sbin/mosquitto", "-c", "/site.conf"], "running")
}

/// A page for whoever has a certificate that leads to `authority` (PEM), at every address of the site, port 9443; it has
/// who that is. Each certificate it was shown it keeps ([`shown`]).
///
/// # Errors
/// It does not start.
pub fn nginx_for(site: &Site, authority: &str) -> Result<Server> {
    let root = packed(site, &site.tree().root.join("tests/programs/apps/nginx"), "nginx-for")?;
    fs::write(root.join("clients.pem"), authority)?;
    fs::write(
        root.join("site.conf"),
        "user root root; daemon off; master_process off; pid /tmp/pid; error_log stderr info; events {}\n\
         http { log_format shown escape=none $ssl_client_raw_cert; access_log /shown.pem shown; \
         client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; \
         uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e; server { listen 9443 ssl; listen [::]:9443 ssl; \
         ssl_certificate /cert.pem; ssl_certificate_key /key.pem; ssl_client_certificate /clients.pem; \
         ssl_verify_client on; ssl_verify_depth 2; location / { return 200 \"hello $ssl_client_s_dn\\n\"; } } }\n",
    )?;
    let words = ["/usr/sbin/nginx", "-e", "stderr", "-c", "/site.conf"];
    chrooted(site, "nginx-for", &root, &words, "getrlimit(RLIMIT_NOFILE)")
}

/// The certificates that [`nginx_for`] was shown and took, PEM.
///
/// # Errors
/// It was shown none.
pub fn shown(site: &Site) -> Result<String> {
    Ok(fs::read_to_string(site.folder("nginx-for")?.join("root/shown.pem"))?)
}

/// MQTT over TLS on `broker.example`, port 8884, for whoever has a certificate that leads to `authority` (PEM): its common
/// name is the user.
///
/// # Errors
/// It does not start.
pub fn mosquitto_for(site: &Site, authority: &str) -> Result<Server> {
    let root = packed(site, &site.tree().demo().join("org.gabion.demo.broker"), "mosquitto-for")?;
    fs::write(root.join("clients.pem"), authority)?;
    fs::write(
        root.join("site.conf"),
        "user root\nallow_anonymous true\nlog_dest stderr\nlog_type all\nlistener 8884\ncafile /clients.pem\n\
         certfile /cert.pem\nkeyfile /key.pem\nrequire_certificate true\nuse_identity_as_username true\n",
    )?;
    chrooted(site, "mosquitto-for", &root, &["/usr/sbin/mosquitto", "-c", "/site.conf"], "running")
}

/// redis on `store.example`, port 6379.
///
/// # Errors
/// It does not start.
pub fn redis(site: &Site) -> Result<Server> {
    let root = packed(site, &site.tree().root.join("tests/programs/apps/redis"), "redis")?;
    let words = [
        "--bind",
        "198.51.100.12",
        "2001:db8:1::12",
        "--save",
        "",
        "--protected-mode",
        "no",
        "--logfile",
        "",
    ];
    let words = [&["/usr/bin/redis-server"], words.as_slice()].concat();
    chrooted(site, "redis", &root, &words, "Ready to accept connections")
}

/// A copy of the root that the app in `source` is packed into, with the site's certificates.
fn packed(site: &Site, source: &Path, name: &str) -> Result<PathBuf> {
    let tree = site.tree();
    // Packed once, whatever it is called here.
    let app = tree.out().join("site").join(source.file_name().unwrap_or_default());
    {
        let _lock = assemble::lock(tree)?;
        pack::pack(tree, source, &app).with_context(|| format!("packing {name}"))?;
    }
    let root = site.folder(name)?.join("root");
    stage::copy(&app.join("root"), &root)?;
    stage::write(&root.join("etc/passwd"), "root:x:0:0::/:\n")?;
    stage::write(&root.join("etc/group"), "root:x:0:\n")?;
    site.certificates(&root)?;
    Ok(root)
}

fn chrooted(site: &Site, name: &'static str, root: &Path, words: &[&str], ready: &str) -> Result<Server> {
    // Some say what they have to say on their standard output.
    let mut all =
        vec!["-c".to_owned(), "exec chroot \"$0\" \"$@\" >&2".to_owned(), root.display().to_string()];
    all.extend(words.iter().map(|word| (*word).to_owned()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Server::start(site, name, Path::new("sh"), &all, ready)
}

/// A client of the site's own, run in the packed root of the app in `source`, to its end.
///
/// # Errors
/// It can't be started.
pub fn client(site: &Site, source: &str, words: &[&str]) -> Result<std::process::Output> {
    let name = source.rsplit('/').next().unwrap_or(source);
    let root = packed(site, &site.tree().root.join(source), name)?;
    site.inside(|| Ok(Command::new("chroot").arg(root).args(words).stdin(Stdio::null()).output()?))
}
