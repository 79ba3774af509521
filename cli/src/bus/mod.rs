//! `gabion bus`: a device's bus from the developer's machine, over the ports of a virtual one, or through the door of one in developer
//! mode.
//!
//! What is asked here the device's developer port asks on our behalf, so it goes through the router and its grants, and
//! is in the audit log. The device is not believed: what it sends is bounded, and shown as the JSON that it must be.

mod device;
mod door;
mod error;
mod hint;
mod session;
mod table;
mod talk;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bus::interfaces::bus::{ListReply, MonitorReply, WhyReply};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(crate) use error::Error;
use session::{Files, Reply, Session};
pub(crate) use table::table;
pub(crate) use talk::{Next, Talk};

use crate::exit::{Exit, Failure};
pub(crate) use crate::output::print;
use crate::output::{answer, event};

/// The interface that tells about the bus.
const BUS: &str = "os.gabion.Bus";

/// Arguments of `gabion bus`.
#[derive(Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    what: What,
}

/// Which device, for every command that asks one.
#[derive(Args)]
pub(crate) struct Place {
    /// The device: its socket, or tls://HOST:PORT for one in developer mode. If not given: GABION_DEVICE, or else
    /// target/image/device.sock in this directory or one above it, which is where `make run` has its device.
    #[arg(long, global = true, value_name = "PLACE")]
    device: Option<PathBuf>,
    /// Longest wait for the device to answer, in seconds.
    #[arg(long, global = true, env = "GABION_TIMEOUT", default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

impl Place {
    /// This one; `None`: where it is looked for.
    pub(crate) fn at(device: Option<PathBuf>) -> Self {
        Self { device, timeout: 30 }
    }

    /// Longest wait for the device.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[derive(Subcommand)]
enum What {
    /// List who may call what, who serves it, and how many connections are open.
    List,
    /// List the interfaces that can be called from here.
    Interfaces,
    /// Print an interface: its types, methods and errors, with what each means.
    Describe {
        /// As os.gabion.Apps.
        interface: String,
    },
    /// Call a method and print the reply as JSON.
    Call {
        /// As os.gabion.Apps.List.
        method: String,
        /// A JSON object, as '{"app":"com.example.clock"}'.
        #[arg(default_value = "{}")]
        parameters: String,
        /// Take a stream of replies, one line each, until it ends or you do.
        #[arg(long)]
        more: bool,
        /// Write the file that comes with the reply here.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Say whether an app may call a method, and which manifest line decides.
    Why {
        /// The app's id.
        app: String,
        /// As os.gabion.Apps.
        interface: String,
        /// As List.
        method: String,
    },
    /// Show every call on the bus as it is made.
    Monitor,
}

/// `true`: yes, or done. `false`: no.
pub(crate) fn run(asked: Asked) -> anyhow::Result<bool> {
    let device = Device::find(asked.place)?;
    match asked.what {
        What::List => device.list(),
        What::Interfaces => device.interfaces(),
        What::Describe { interface } => device.describe(&interface),
        What::Call { method, parameters, more, output } => {
            let parameters: Map<String, Value> = serde_json::from_str(&parameters).map_err(|error| {
                let message = format!("the parameters are no JSON object: {parameters}: {error}");
                let help = format!(
                    "`gabion bus describe` says what {method} takes, as '{{\"app\":\"com.example.clock\"}}'"
                );
                Failure::new(Exit::Usage, message).help(help)
            })?;
            let call = Call::new(&method, parameters, more)?;
            device.call(&call, output)
        }
        What::Why { app, interface, method } => device.why(&app, &interface, &method),
        What::Monitor => device.monitor(),
    }
}

/// A device that can be asked.
pub(crate) struct Device {
    place: device::Found,
    patience: Duration,
}

/// A call as it was asked for.
pub(crate) struct Call {
    interface: String,
    method: String,
    parameters: Map<String, Value>,
    more: bool,
}

impl Call {
    pub(crate) fn new(method: &str, parameters: Map<String, Value>, more: bool) -> anyhow::Result<Self> {
        let (interface, method) = method.rsplit_once('.').ok_or_else(|| {
            Failure::new(Exit::Usage, "no method").help("write INTERFACE.METHOD, as os.gabion.Apps.List")
        })?;
        Ok(Self { interface: interface.to_owned(), method: method.to_owned(), parameters, more })
    }

    fn of_bus(method: &str, parameters: &Value, more: bool) -> Self {
        let parameters = parameters.as_object().cloned().unwrap_or_default();
        Self { interface: BUS.to_owned(), method: method.to_owned(), parameters, more }
    }
}

impl Device {
    /// As it was named, or where it is looked for.
    pub(crate) fn find(place: Place) -> Result<Self, Error> {
        Ok(Self { patience: place.patience(), place: device::find(place.device)? })
    }

    /// Whether it is one in developer mode, which is reached through its door.
    pub(crate) fn is_door(&self) -> bool {
        self.place.app() == bus::devport::DOOR
    }

    fn list(&self) -> anyhow::Result<bool> {
        self.one(&Call::of_bus("List", &json!({}), false), |parameters| {
            let ListReply { grants } = ListReply::deserialize(parameters)?;
            let rows: Vec<_> = grants
                .iter()
                .map(|grant| {
                    let server = grant.server.as_deref().unwrap_or("-").to_owned();
                    let (app, interface) = (grant.app.to_string(), grant.interface.to_string());
                    [app, interface, grant.methods.join(","), server, grant.connections.to_string()]
                })
                .collect();
            answer(parameters, || table(["APP", "INTERFACE", "METHODS", "SERVER", "OPEN"], &rows))
        })
    }

    fn interfaces(&self) -> anyhow::Result<bool> {
        self.one(&Call::of_bus("List", &json!({}), false), |parameters| {
            let ListReply { grants } = ListReply::deserialize(parameters)?;
            let ours: Vec<_> = grants.iter().filter(|grant| grant.app == self.place.app()).collect();
            let each =
                ours.iter().map(|grant| json!({ "interface": grant.interface, "methods": grant.methods }));
            answer(&json!({ "interfaces": each.collect::<Vec<_>>() }), || {
                let row = |grant: &&_| {
                    let bus::interfaces::bus::Grant { interface, methods, .. } = grant;
                    [interface.to_string(), methods.join(" ")]
                };
                table(["INTERFACE", "METHODS"], &ours.iter().map(row).collect::<Vec<_>>())
            })
        })
    }

    fn describe(&self, interface: &str) -> anyhow::Result<bool> {
        let parameters = json!({ "interface": interface }).as_object().cloned().unwrap_or_default();
        let asked = "org.varlink.service.GetInterfaceDescription";
        let call = Call { interface: interface.to_owned(), method: String::new(), parameters, more: false };
        self.asked(&call, asked, Files::default(), |_, parameters| {
            let text = parameters.get("description").and_then(Value::as_str);
            let text = text.context("the device sent no description")?;
            answer(&json!({ "interface": interface, "description": text }), || text.to_owned())
        })
    }

    fn call(&self, call: &Call, output: Option<PathBuf>) -> anyhow::Result<bool> {
        let method = format!("{}.{}", call.interface, call.method);
        self.asked(call, &method, Files::to(output.clone()), |files, parameters| {
            if files.count > 0 {
                match &output {
                    Some(path) => eprintln!("{}: {} bytes", path.display(), files.bytes),
                    None => {
                        eprintln!("a file of {} bytes came with the reply; -o FILE keeps it", files.bytes)
                    }
                }
            }
            Ok(print(&if call.more { format!("{parameters}\n") } else { format!("{parameters:#}\n") }))
        })
    }

    fn why(&self, app: &str, interface: &str, method: &str) -> anyhow::Result<bool> {
        let mut allowed = false;
        let parameters = json!({ "app": app, "interface": interface, "method": method });
        let answered = self.one(&Call::of_bus("Why", &parameters, false), |parameters| {
            let reply = WhyReply::deserialize(parameters)?;
            allowed = reply.allowed;
            let verdict = if allowed { "allowed" } else { "denied" };
            answer(parameters, || format!("{verdict}: {}\n", reply.because))
        })?;
        Ok(answered && allowed)
    }

    fn monitor(&self) -> anyhow::Result<bool> {
        self.one(&Call::of_bus("Monitor", &json!({}), true), |parameters| {
            let MonitorReply { call, skipped } = MonitorReply::deserialize(parameters)?;
            let refused = if call.refused { "  refused" } else { "" };
            let missed = if skipped > 0 { format!("  (after {skipped} not shown)") } else { String::new() };
            event(parameters, || {
                format!(
                    "{}  {} -> {}.{}  #{}{refused}{missed}\n",
                    call.time, call.app, call.interface, call.method, call.serial
                )
            })
        })
    }

    /// Calls, and gives the replies to `show`. A refusal or an error reply is an error, and says what to do.
    pub(crate) fn one(
        &self,
        call: &Call,
        mut show: impl FnMut(&Value) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        let method = format!("{}.{}", call.interface, call.method);
        self.asked(call, &method, Files::default(), |_, parameters| show(parameters))
    }

    /// Calls, and gives each reply to `show` until that says that nobody wants more.
    fn asked(
        &self,
        call: &Call,
        method: &str,
        files: Files,
        mut show: impl FnMut(&Files, &Value) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        let mut session = Session::new(self.place.claim(self.patience)?, self.patience, files)?;
        match session.open(&call.interface) {
            Err(Error::Refused(why)) => {
                return Err(Failure::new(Exit::NotFound, hint::no_interface(&call.interface, &why)).into());
            }
            other => other?,
        }
        session.ask(method, &call.parameters, call.more)?;
        if call.more {
            session.wait_for_ever()?;
        }
        loop {
            match session.reply() {
                Ok(Reply::Parameters(parameters, continues)) => {
                    if !show(&session.files, &parameters)? || !continues {
                        return Ok(true);
                    }
                }
                Ok(Reply::Error(name, parameters)) => {
                    let said = hint::error(&name, &parameters, &call.interface, &call.method);
                    return Err(Failure::new(hint::exit(&name), said).into());
                }
                Err(Error::Closed) => return self.closed(session, call),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A connection was closed without a word: the bus knows why.
    fn closed(&self, mut session: Session, call: &Call) -> anyhow::Result<bool> {
        let method = match call.method.as_str() {
            "" => hint::known(&call.interface).and_then(|known| known.methods.first()).map_or("", |m| m.name),
            method => method,
        };
        let asked = json!({ "app": self.place.app(), "interface": call.interface, "method": method });
        session.open(BUS)?;
        session.ask("os.gabion.Bus.Why", asked.as_object().unwrap_or(&Map::new()), false)?;
        if let Reply::Parameters(parameters, _) = session.reply()? {
            let reply = WhyReply::deserialize(&parameters)?;
            if !reply.allowed {
                return Err(Failure::new(Exit::Refused, format!("refused: {}", reply.because)).into());
            }
        }
        Err(Error::Closed.into())
    }
}
