//! The parts, joined: one thread, everything in one `LocalSet`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use bus::server::Server;
use bus::update_link::{CONFIG_MAX, Came, FromUpdated, ToUpdated};
use contact::config::Service;
use tokio::task::spawn_local;

use crate::carried::Carried;
use crate::connect::Identity;
use crate::driver::Driver;
use crate::kept::Disk;
use crate::link::Desk;
use crate::serve::{self, Serve};
use crate::settings::Settings;
use crate::state::{Clock, Facts, State};

/// The daemon.
pub struct Updated {
    state: Rc<State>,
}

impl Updated {
    /// On the socket to sandboxd, with its own storage, as this device.
    ///
    /// # Errors
    /// The socket can't be waited for.
    pub fn new(link: OwnedFd, storage: PathBuf, identity: Identity, clock: Clock) -> io::Result<Self> {
        let state = State::new(Desk::new(link)?, Disk::new(storage), identity, clock);
        Ok(Self { state: Rc::new(state) })
    }

    /// Serves the bus besides, by this server.
    pub fn serve(&self, server: Server<Serve>) {
        let state = self.state.clone();
        spawn_local(async move {
            if let Err(e) = serve::run(state, server).await {
                eprintln!("bus: {e}");
            }
        });
    }

    /// Runs until sandboxd's end of the link is gone for good.
    ///
    /// # Errors
    /// The link fails.
    pub async fn run(self) -> io::Result<()> {
        let flushing = self.state.clone();
        spawn_local(async move { flushing.desk.flush().await });
        spawn_local(Driver::new(self.state.clone()).run());
        self.state.desk.tell(&FromUpdated::Hello);
        loop {
            let (message, fds) = self.state.desk.receive().await?;
            self.state.take(message, fds);
        }
    }
}

impl State {
    fn take(&self, message: ToUpdated, mut fds: Vec<OwnedFd>) {
        match message {
            ToUpdated::Sync => {
                *self.facts.borrow_mut() = Facts::default();
                self.anew.set(true);
                self.interrupt.notify_one();
            }
            ToUpdated::Config => self.configure(fds.pop()),
            ToUpdated::Trust => match fds.pop().map(read) {
                Some(Ok(root)) => self.facts.borrow_mut().trust = Some(root),
                _ => self.say("update-root.json can not be read"),
            },
            ToUpdated::Service(text, name_server) => {
                let service = (!text.is_empty()).then(|| text.parse::<Service>());
                let mut facts = self.facts.borrow_mut();
                facts.name_server = name_server;
                match service.transpose() {
                    Ok(service) => facts.service = service,
                    Err(e) => self.say(&format!("service.toml is passed over: {e}")),
                }
                let address = facts.service.as_ref().map(Service::address);
                self.desk.tell(&FromUpdated::Reach(address.into_iter().collect()));
            }
            ToUpdated::System(system) => self.facts.borrow_mut().system = Some(system),
            ToUpdated::App(app) => {
                self.facts.borrow_mut().apps.insert(app.id.clone(), app);
            }
            ToUpdated::Gone(id) => {
                self.facts.borrow_mut().apps.remove(&id);
            }
            ToUpdated::ClockSet => self.facts.borrow_mut().clock = true,
            ToUpdated::Attested => {
                let first = !std::mem::replace(&mut self.facts.borrow_mut().attested, true);
                if first && self.facts.borrow().synced {
                    // There is a certificate now: what was refused without one need not wait any longer.
                    self.check_is_due();
                }
            }
            ToUpdated::SyncEnd => {
                self.facts.borrow_mut().synced = true;
                let facts = self.facts.borrow();
                if facts.settings.as_ref().is_some_and(|settings| settings.disks) {
                    self.desk.tell(&FromUpdated::Disks);
                }
                // Neither on trial nor ended: what was to be installed never came there.
                if !facts.on_trial && facts.settled.is_empty() && !self.kept.borrow().on_trial.is_empty() {
                    self.keep(|kept| kept.on_trial.clear());
                }
            }
            ToUpdated::Disk(how) => self.carried(how, fds.pop()),
            ToUpdated::DiskGone => {
                self.facts.borrow_mut().carried = None;
                self.interrupt.notify_one();
            }
            ToUpdated::Settled(why) => self.facts.borrow_mut().settled.push(why),
            // Part of the state: as an answer the desk has taken it.
            ToUpdated::Installed => self.facts.borrow_mut().on_trial = true,
            // Answers.
            ToUpdated::Slot
            | ToUpdated::Kernel
            | ToUpdated::Armed
            | ToUpdated::Blessed
            | ToUpdated::Incoming
            | ToUpdated::Refused(_) => {}
        }
        self.wake.notify_one();
    }

    fn carried(&self, how: Came, disk: Option<OwnedFd>) {
        let allowed = self.facts.borrow().settings.as_ref().is_some_and(|settings| settings.disks);
        let came = match how {
            Came::Disk if !allowed => {
                return self.say("a disk with updates was put in, and update.toml does not say disks = true");
            }
            Came::Disk => "a disk with updates was put in",
            Came::Developer => "a developer has sent updates",
        };
        match disk
            .ok_or("it can not be read".to_owned())
            .and_then(|disk| Carried::open(File::from(disk), how))
        {
            Ok(carried) => {
                self.say(came);
                self.facts.borrow_mut().carried = Some(carried);
                self.interrupt.notify_one();
            }
            Err(why) => self.say(&format!("{came}, which are passed over: {why}")),
        }
    }

    fn configure(&self, text: Option<OwnedFd>) {
        let text = text.map(read).and_then(Result::ok).and_then(|bytes| String::from_utf8(bytes).ok());
        match text
            .ok_or("it can not be read".to_owned())
            .and_then(|text| text.parse::<Settings>().map_err(|e| e.to_string()))
        {
            Ok(settings) => self.facts.borrow_mut().settings = Some(settings),
            Err(why) => self.say(&format!("update.toml is passed over: {why}")),
        }
    }
}

/// All of a file, which must not be too long.
fn read(fd: OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::from(fd).take(CONFIG_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CONFIG_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}
