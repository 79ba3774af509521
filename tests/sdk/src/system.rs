//! A stand-in for the system's servers, on the bus's own server library: every method that an app may be granted is
//! answered, and which were called is kept.
//!
//! Answers are what a device on a desk would give. An update is there when a test says so.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use bus::interface::{Empty, Interface, Method};
use bus::interfaces::{certificate, device, network, power, time, update};
use bus::server::{Answer, Call, Event, Incoming, Interest, Pending, Server};
use bus::session::About;

use crate::Called;

const ABOUT: About = About { vendor: "", product: "stand-in", version: "", url: "" };
/// What answers the calls of an interface.
type Dispatch = fn(&mut Stand, Incoming<'_>) -> Answer;

/// The number of our own descriptor.
const ASKED: u32 = 1;
/// Bytes in Base64 where nobody looks into them: "bytes".
const BYTES: &str = "Ynl0ZXM=";

/// What a test does to the servers.
enum Ask {
    /// Something happens to the app's update.
    Tell(update::Happening, String, Option<i64>),
    End,
}

/// See the module.
pub struct System {
    said: Arc<Mutex<Said>>,
    asks: Sender<Ask>,
    wake: UnixStream,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What was called, and with what.
#[derive(Debug, Default)]
struct Said {
    called: Called,
    /// `Defer` and `Resume`, with their parameters, in order; reasons of `Reboot` and `PowerOff`.
    words: Vec<String>,
    /// The update that waits, and since when it does.
    pending: Option<String>,
    watching: usize,
}

impl System {
    /// Serves every interface at its place in `folder`.
    ///
    /// # Errors
    /// Those of sockets.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::with(folder, Arc::default())
    }

    fn with(folder: &Path, said: Arc<Mutex<Said>>) -> Result<Self> {
        let (asks, asked) = channel();
        let (wake, woken) = UnixStream::pair()?;
        let (folder, shared) = (folder.to_owned(), Arc::clone(&said));
        let thread = std::thread::spawn(move || serve(&folder, shared, &asked, &woken));
        Ok(Self { said, asks, wake, thread: Some(thread) })
    }

    pub(crate) fn restart(&mut self, folder: &Path) -> Result<()> {
        self.end();
        *self = Self::with(folder, Arc::clone(&self.said))?;
        Ok(())
    }

    fn end(&mut self) {
        self.ask(Ask::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.said().watching = 0;
    }

    /// Every method that was called so far.
    pub fn called(&self) -> Called {
        self.said().called.clone()
    }

    /// What was said with `Defer`, `Resume`, `Reboot` and `PowerOff`, in order.
    pub fn words(&self) -> Vec<String> {
        self.said().words.clone()
    }

    /// How many watch updates.
    pub fn watching(&self) -> usize {
        self.said().watching
    }

    /// Something happens to the app's update: it is `pending`, it is `complete`.
    pub fn tell(&self, happening: update::Happening, version: &str, at_us: Option<i64>) {
        self.said().pending = (happening == update::Happening::Pending).then(|| version.to_owned());
        self.ask(Ask::Tell(happening, version.to_owned(), at_us));
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, ask: Ask) {
        let _ = self.asks.send(ask);
        let _ = (&self.wake).write_all(b"!");
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.end();
    }
}

fn serve(folder: &Path, said: Arc<Mutex<Said>>, asked: &Receiver<Ask>, woken: &UnixStream) -> Result<()> {
    let mut server = Server::new(ABOUT)?;
    let mut stand = Stand { said, watching: Vec::new() };
    let at = |interface: &Interface| -> PathBuf { folder.join(interface.name) };
    let each: [(&'static Interface, Dispatch); 6] = [
        (&certificate::INTERFACE, certificate::dispatch),
        (&device::INTERFACE, device::dispatch),
        (&network::INTERFACE, network::dispatch),
        (&power::INTERFACE, power::dispatch),
        (&time::INTERFACE, time::dispatch),
        (&update::INTERFACE, update::dispatch),
    ];
    for (interface, dispatch) in each {
        if at(interface).exists() {
            server.serve_at(interface, dispatch, &at(interface));
        }
    }
    server.watch(woken, ASKED, Interest { read: true, write: false })?;
    let mut events = Vec::new();
    loop {
        server.turn(&mut stand, None, &mut events)?;
        for event in events.drain(..) {
            match event {
                Event::Ready(_) => {
                    std::io::Read::read(&mut &*woken, &mut [0; 64]).context("woken")?;
                }
                Event::Ended(call) => stand.watching.retain(|watching| watching.id() != call),
                Event::BadHandover(_, why) => anyhow::bail!(why),
            }
        }
        for ask in asked.try_iter() {
            match ask {
                Ask::End => return Ok(()),
                Ask::Tell(happening, version, at_us) => {
                    let version = version.as_str().into();
                    let target = update::Target::App;
                    let reply = update::WatchReply { target, app: None, happening, version, at_us };
                    stand.watching.iter().for_each(|watching| server.push(watching, &reply));
                }
            }
        }
        let watching = stand.watching.len();
        stand.said().watching = watching;
    }
}

struct Stand {
    said: Arc<Mutex<Said>>,
    watching: Vec<Pending<update::Watch>>,
}

impl Stand {
    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note<M: Method>(&self, _: &Call<'_, M>) {
        self.said().called.insert(M::CALL.to_owned());
    }

    fn word(&self, word: String) {
        self.said().words.push(word);
    }

    fn updates(&self) -> Vec<update::Status<'static>> {
        let pending = self.said().pending.clone();
        let one = |target, coming: Option<String>| update::Status {
            target,
            app: None,
            running_version: "1.0.0".into(),
            state: if coming.is_some() { update::State::Pending } else { update::State::None },
            coming_version: coming.map(Into::into),
            deferred_until_us: None,
            checked_us: Some(1_700_000_000_000_000),
            failure: None,
        };
        vec![one(update::Target::Os, None), one(update::Target::App, pending)]
    }
}

impl device::Handler for Stand {
    fn get_info(&mut self, call: Call<'_, device::GetInfo>) -> Answer {
        self.note(&call);
        call.reply(&device::GetInfoReply {
            os: "Gabion".into(),
            os_version: "0.1.0".into(),
            board: "a \"desk\"".into(),
            architecture: "x86_64".into(),
            kernel: "6.12".into(),
            boot_id: "0123456789abcdef0123456789abcdef".into(),
            uptime_us: 5_000_000,
            mode: device::Mode::Normal,
            developer: true,
            memory_bytes: 1 << 27,
        })
    }
}

impl certificate::Handler for Stand {
    fn get_chain(&mut self, call: Call<'_, certificate::GetChain>) -> Answer {
        self.note(&call);
        let certificates = vec![BYTES.into(), BYTES.into()];
        call.reply(&certificate::GetChainReply { certificates, expires_us: 1_700_000_000_000_000 })
    }

    fn get_authorities(&mut self, call: Call<'_, certificate::GetAuthorities>) -> Answer {
        self.note(&call);
        let reply = certificate::GetAuthoritiesReply { certificates: vec![BYTES.into()], revoked: None };
        call.reply(&reply)
    }

    fn sign(
        &mut self,
        call: Call<'_, certificate::Sign>,
        parameters: certificate::SignParameters<'_>,
    ) -> Answer {
        self.note(&call);
        if parameters.digest.len() != 44 {
            return call.fail(&certificate::Error::WrongLength { min_bytes: 32, max_bytes: 32 });
        }
        call.reply(&certificate::SignReply { signature: BYTES.into() })
    }

    fn attest(
        &mut self,
        call: Call<'_, certificate::Attest>,
        _: certificate::AttestParameters<'_>,
    ) -> Answer {
        self.note(&call);
        let evidence = b"{\"app\":\"com.example.caller\"}";
        match bus::bulk::seal(c"evidence", evidence) {
            Ok(fd) => call.reply_with(
                &certificate::AttestReply { evidence: 0, size_bytes: evidence.len() as i64 },
                vec![fd],
            ),
            Err(error) => call.fail(&certificate::Error::NotIssued { reason: error.to_string() }),
        }
    }
}

impl update::Handler for Stand {
    fn get_status(&mut self, call: Call<'_, update::GetStatus>) -> Answer {
        self.note(&call);
        call.reply(&update::GetStatusReply { updates: self.updates() })
    }

    fn check_now(&mut self, call: Call<'_, update::CheckNow>) -> Answer {
        self.note(&call);
        call.reply(&update::CheckNowReply { updates: self.updates() })
    }

    fn defer(&mut self, call: Call<'_, update::Defer>, parameters: update::DeferParameters<'_>) -> Answer {
        self.note(&call);
        if self.said().pending.is_none() {
            return call.fail(&update::Error::NothingPending {});
        }
        if parameters.minutes > 10_020 {
            return call.fail(&update::Error::TooLong { limit_minutes: 10_020 });
        }
        self.word(format!("defer {:?} {}", parameters.target, parameters.minutes));
        call.reply(&update::DeferReply { until_us: 1_700_000_000_000_000 })
    }

    fn resume(&mut self, call: Call<'_, update::Resume>, parameters: update::ResumeParameters<'_>) -> Answer {
        self.note(&call);
        self.word(format!("resume {:?}", parameters.target));
        call.reply(&Empty {})
    }

    fn watch(&mut self, call: Call<'_, update::Watch>) -> Answer {
        self.note(&call);
        let (pending, answer) = call.later();
        self.watching.push(pending);
        answer
    }

    fn rollback(
        &mut self,
        call: Call<'_, update::Rollback>,
        _parameters: update::RollbackParameters<'_>,
    ) -> Answer {
        call.not_implemented()
    }
}

impl power::Handler for Stand {
    fn reboot(&mut self, call: Call<'_, power::Reboot>, parameters: power::RebootParameters<'_>) -> Answer {
        self.note(&call);
        self.word(format!("reboot {}", parameters.reason));
        call.reply(&Empty {})
    }

    fn power_off(
        &mut self,
        call: Call<'_, power::PowerOff>,
        parameters: power::PowerOffParameters<'_>,
    ) -> Answer {
        self.note(&call);
        self.word(format!("power-off {}", parameters.reason));
        call.reply(&Empty {})
    }
}

impl time::Handler for Stand {
    fn get_status(&mut self, call: Call<'_, time::GetStatus>) -> Answer {
        self.note(&call);
        call.reply(&time::GetStatusReply {
            realtime_us: 1_700_000_000_000_000,
            monotonic_us: 5_000_000,
            source: time::Source::Network,
            synchronised: true,
            server: Some("time.example.com".into()),
            error_us: Some(1500),
            authenticated: true,
            problem: None,
        })
    }
}

impl network::Handler for Stand {
    fn get_status(&mut self, call: Call<'_, network::GetStatus>) -> Answer {
        self.note(&call);
        call.reply(&network::GetStatusReply {
            reach: network::Reach::Local,
            missing: Some(network::Stage::Names),
            reason: Some("no name server answers".into()),
            name_servers: vec!["192.0.2.1".into()],
            fault: None,
        })
    }

    fn resolve(
        &mut self,
        call: Call<'_, network::Resolve>,
        parameters: network::ResolveParameters<'_>,
    ) -> Answer {
        self.note(&call);
        if parameters.host != "mqtt.example.com" {
            let host = parameters.host.into_owned();
            let manifest_line = format!("[network] connect = [\"{host}:443/tcp\"]");
            return call.fail(&network::Error::HostNotListed { host, manifest_line });
        }
        call.reply(&network::ResolveReply { addresses: vec!["192.0.2.7".into()], ttl_s: 60 })
    }

    fn list_interfaces(&mut self, call: Call<'_, network::ListInterfaces>) -> Answer {
        self.note(&call);
        let link = network::Link {
            name: "eth0".into(),
            kind: network::Kind::Ethernet,
            up: true,
            hardware_address: Some("02:00:00:00:00:01".into()),
            addresses: vec!["192.0.2.9/24".into()],
            gateway: None,
        };
        call.reply(&network::ListInterfacesReply { interfaces: vec![link] })
    }

    fn list_own_rules(&mut self, call: Call<'_, network::ListOwnRules>) -> Answer {
        self.note(&call);
        let rule = network::Rule {
            direction: network::Direction::Connect,
            manifest_line: Some("connect = [\"mqtt.example.com:8883/tcp\"]".into()),
            address: Some("192.0.2.7".into()),
            port: 8883,
            protocol: network::Protocol::Tcp,
            expires_s: None,
            attempts: 3,
            packets: 20,
            bytes: 4000,
        };
        call.reply(&network::ListOwnRulesReply { rules: vec![rule] })
    }

    fn list_rules(
        &mut self,
        call: Call<'_, network::ListRules>,
        _: network::ListRulesParameters<'_>,
    ) -> Answer {
        call.not_implemented()
    }

    fn why_connect(
        &mut self,
        call: Call<'_, network::WhyConnect>,
        _: network::WhyConnectParameters<'_>,
    ) -> Answer {
        call.not_implemented()
    }

    fn configure(
        &mut self,
        call: Call<'_, network::Configure>,
        _: network::ConfigureParameters<'_>,
    ) -> Answer {
        call.not_implemented()
    }
}
