//! A thermostat, in Rust: it asks a sensor, keeps a history, publishes by MQTT with the app's certificate, and puts its update
//! off while it heats.
//!
//! `thermostat mqtts://HOST:PORT [AUTHORITIES.pem]`. The same in C and Python is beside this; docs/sdk.md goes through all three.

mod mqtt;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use gabion::call::{CallError, Connection};
use gabion::notify::Watchdog;
use gabion::update::{Event, Happening, Target, Update};
use gabion::{log, notify, storage};
use serde_json::{Value, json};

use mqtt::{Address, Broker};

const TOPIC: &str = "home/kitchen/rust";
/// It heats from this, up to [`WARM`], degrees Celsius.
const COLD: f64 = 20.0;
const WARM: f64 = 21.0;
/// How long an update is put off, minutes; it is let go as soon as it is warm.
const DEFER_MINUTES: u32 = 30;
/// Between two readings.
const TICK: Duration = Duration::from_secs(1);
/// How long a broker that could not be reached is left alone.
const AGAIN: Duration = Duration::from_secs(10);
/// The history is halved when it is larger, bytes.
const HISTORY_MAX: u64 = 64 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let url = words.next().unwrap_or_else(|| "mqtts://mqtt.example.com:8883".to_owned());
    match Address::read(&url, words.next().as_deref()) {
        Ok(address) => Thermostat::new(address).run().await,
        Err(error) => {
            log::error("no-broker").with("why", &error).write();
            ExitCode::FAILURE
        }
    }
}

struct Thermostat {
    sensor: Connection,
    updates: Update,
    address: Address,
    broker: Option<Broker>,
    again_at: Option<Instant>,
    degrees: f64,
    heating: bool,
    pending: bool,
    deferred: bool,
    ready: bool,
}

impl Thermostat {
    fn new(address: Address) -> Self {
        Self {
            sensor: Connection::to("com.example.Temperature"),
            updates: Update::of_app(),
            address,
            broker: None,
            again_at: None,
            degrees: WARM,
            heating: false,
            pending: false,
            deferred: false,
            ready: false,
        }
    }

    async fn run(mut self) -> ! {
        let mut watch = self.updates.watch();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                event = watch.next() => match event {
                    Ok(event) => self.hear(&event).await,
                    Err(error) => {
                        // Who serves it was started anew, perhaps; it is watched again in a moment.
                        log::warn("updates-not-watched").with("why", &error).write();
                        tokio::time::sleep(TICK).await;
                    }
                },
                _ = tick.tick() => self.turn().await,
            }
        }
    }

    async fn turn(&mut self) {
        if let Err(error) = self.read_sensor().await {
            log::warn("no-reading").with("why", &error).write();
            return;
        }
        let before = self.heating;
        self.heating = self.degrees < if before { WARM } else { COLD };
        if self.heating != before || !self.ready {
            log::info("heating")
                .with("on", self.heating)
                .with("degrees", format!("{:.2}", self.degrees))
                .write();
            notify::status(if self.heating { "heating" } else { "warm enough" }).ok();
            self.settle_update().await;
        }
        if let Err(error) = self.keep_history() {
            log::warn("history-not-kept").with("why", &error).write();
        }
        if let Err(error) = self.publish().await {
            log::warn("not-published").with("why", &error).write();
            self.broker = None;
            self.again_at = Some(Instant::now() + AGAIN);
        }
        if !self.ready {
            notify::ready().ok();
        }
        self.ready = true;
        // Here, where the work is done.
        if let Some(watchdog) = Watchdog::of_app() {
            watchdog.ping().ok();
        }
    }

    async fn read_sensor(&mut self) -> Result<(), CallError> {
        let reply: Value = self.sensor.call("Get", &json!({"room": "kitchen"})).await?;
        self.degrees = reply.get("degrees").and_then(Value::as_f64).ok_or(CallError::NotAReply)?;
        Ok(())
    }

    async fn hear(&mut self, event: &Event) {
        log::info("update")
            .with("version", &event.version)
            .with("happening", format!("{:?}", event.happening))
            .write();
        if event.target == Target::App && event.happening != Happening::Deferred {
            self.pending = event.happening == Happening::Pending;
        }
        if event.target == Target::App && event.happening == Happening::Complete {
            self.deferred = false;
        }
        self.settle_update().await;
    }

    /// What is pending waits while it heats, and no longer.
    async fn settle_update(&mut self) {
        let settled = if self.pending && self.heating && !self.deferred {
            self.updates.defer(Target::App, DEFER_MINUTES).await.map(|_| {
                self.deferred = true;
                log::info("update-deferred").with("minutes", DEFER_MINUTES).write();
            })
        } else if self.deferred && !self.heating {
            self.updates.resume(Target::App).await.map(|()| {
                self.deferred = false;
                log::info("update-resumed").write();
            })
        } else {
            Ok(())
        };
        if let Err(error) = settled {
            log::warn("update-not-settled").with("why", &error).write();
        }
    }

    /// On the disk when it is back; the newer half is left when it becomes too large.
    fn keep_history(&self) -> io::Result<()> {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let state = if self.heating { "on" } else { "off" };
        storage::append("history", format!("{now} {:.2} {state}\n", self.degrees).as_bytes())?;
        let path = storage::path().join("history");
        if std::fs::metadata(&path)?.len() <= HISTORY_MAX {
            return Ok(());
        }
        let text = std::fs::read_to_string(&path)?;
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let newer = lines.get(lines.len() / 2..).unwrap_or_default().concat();
        storage::replace("history", newer.as_bytes())
    }

    async fn publish(&mut self) -> io::Result<()> {
        if self.broker.is_none() && self.again_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let broker = match &mut self.broker {
            Some(broker) => broker,
            None => self.broker.insert(Broker::connect(&self.address).await?),
        };
        let message = format!("{{\"degrees\":{:.2},\"heating\":{}}}", self.degrees, self.heating);
        broker.publish(TOPIC, &message).await
    }
}
