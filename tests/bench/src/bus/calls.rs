//! The round trip of a call on an established connection: 64 B, 4 KiB, 1 MiB.
//!
//! Up to 4 KiB the payload comes back in the reply; the raw socket does the same with the bare bytes. 1 MiB goes one
//! way, and the receiver adds it up, so that none gets away with not looking at it; ours goes by memory that is kept
//! (`bus::bulk`) and is looked at part by part, the others' through their socket. A sample is the mean of a few calls made in a row by one program;
//! programs take turns.

use std::os::unix::net::UnixListener;

use anyhow::Result;

use super::boxed::Boxed;
use super::brokers::{Brokers, Which};
use super::scene::{self, Scene, in_box, listen};
use crate::stat::{Samples, bar, bar_of_ratio, not_measured};

/// A payload: how it is called in the bars, its length, calls in a row (few, so that a round of the slowest is over
/// before the scheduler gives the CPU to somebody else), whether it comes back, and how rare its rounds are.
struct Size {
    name: &'static str,
    length: usize,
    calls: u32,
    echoed: bool,
    one_in: usize,
}

const SIZES: [Size; 3] = [
    Size { name: "64", length: 64, calls: 20, echoed: true, one_in: 1 },
    Size { name: "4k", length: 4096, calls: 20, echoed: true, one_in: 1 },
    Size { name: "1mib", length: 1 << 20, calls: 3, echoed: false, one_in: 4 },
];
const WARM_UP: usize = 5;

/// A client and its samples.
struct Caller {
    who: Who,
    client: Boxed,
    samples: Samples,
}

/// Whose calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Raw,
    Ours,
    Broker(Which),
    Zbus,
}

impl Who {
    fn what(self) -> &'static str {
        match self {
            Who::Raw => "raw SOCK_STREAM ping-pong",
            Who::Ours => "the bus, our client and server",
            Who::Broker(Which::DbusBroker) => "dbus-broker, bare client and service",
            Who::Broker(Which::DbusDaemon) => "dbus-daemon, bare client and service",
            Who::Broker(Which::Busd) => "busd (D-Bus), bare client and service",
            Who::Zbus => "zbus client and service",
        }
    }

    /// Why it is not there, and what helps.
    fn missing(self) -> &'static str {
        match self {
            Who::Broker(broker) => broker.missing(),
            Who::Zbus => {
                "zbus could not be built (see above), or no broker is installed (apt-get install dbus-broker)"
            }
            Who::Raw | Who::Ours => "it is always there",
        }
    }
}

/// Bars that hold for both small sizes: the worse ratio of them counts.
const AGAINST: [(&str, Who, f64); 4] = [
    ("bus_call_vs_dbus_broker", Who::Broker(Which::DbusBroker), 0.5),
    ("bus_call_vs_dbus_daemon", Who::Broker(Which::DbusDaemon), 1.0),
    ("bus_call_vs_busd", Who::Broker(Which::Busd), 1.0),
    ("bus_call_vs_zbus", Who::Zbus, 1.0),
];

/// Measures and reports.
pub(super) fn run(scene: &Scene, rounds: usize) -> Result<()> {
    let brokers = Brokers::start(scene)?;
    let raw = scene.dir.path().join("raw");
    let listener = UnixListener::bind(&raw)?;
    scene.share(&raw)?;
    let _raw_server = listen(&scene.server, &["raw-server"], listener.into())?;
    let mut worst = [None; AGAINST.len()];
    for size in SIZES {
        let mut callers = callers(scene, &brokers, &size)?;
        let (rounds, back) = (rounds / size.one_in, if size.echoed { " and back" } else { "" });
        let (length, calls) = (size.length, size.calls);
        println!(
            "bus: round trip of a call with {length} bytes{back}, {rounds} rounds of {calls} calls in turn"
        );
        interleave(&mut callers, rounds)?;
        report(&size, &callers, &mut worst);
    }
    for ((name, who, limit), value) in AGAINST.iter().zip(worst) {
        value.map_or_else(|| not_measured(name, who.missing()), |value| bar(name, value, *limit));
    }
    Ok(())
}

fn callers(scene: &Scene, brokers: &Brokers, size: &Size) -> Result<Vec<Caller>> {
    let [length, calls] = [size.length.to_string(), size.calls.to_string()];
    let caller = |who, client| Caller { who, client, samples: Samples::default() };
    let raw = in_box(&scene.dir.path().join("raw"))?;
    let ours = match size.echoed {
        true => scene.call(&["bus-client", &length, &calls])?,
        false => scene.share_memory(&["bus-bulk", &length, &calls])?,
    };
    let mut all =
        vec![caller(Who::Raw, scene.call(&["raw-client", &raw, &length, &calls])?), caller(Who::Ours, ours)];
    let uid = scene::CALLERS[0].to_string();
    for running in brokers.running() {
        let client = scene.call(&["dbus-client", &running.path, &uid, &length, &calls])?;
        all.push(caller(Who::Broker(running.broker), client));
    }
    if let Some(path) = brokers.zbus().filter(|_| size.echoed) {
        let client = Boxed::start(scene.caller()?, &["/bin/zbus", "client", path, &length, &calls])?;
        all.push(caller(Who::Zbus, client));
    }
    Ok(all)
}

/// Takes turns, each time beginning with another one.
fn interleave(callers: &mut [Caller], rounds: usize) -> Result<()> {
    let n = callers.len();
    for round in 0..WARM_UP + rounds {
        for at in 0..n {
            if let Some(caller) = callers.get_mut((round + at) % n) {
                caller.client.ask()?;
                let ns = caller.client.answer()?;
                if round >= WARM_UP {
                    caller.samples.push(ns as f64 / 1000.0);
                }
            }
        }
    }
    Ok(())
}

fn report(size: &Size, callers: &[Caller], worst: &mut [Option<f64>]) {
    callers.iter().for_each(|caller| caller.samples.print(caller.who.what()));
    let of = |who| callers.iter().find(|caller| caller.who == who).map(|caller| &caller.samples);
    let Some(ours) = of(Who::Ours) else { return };
    if !size.echoed {
        let name = format!("bus_{}_vs_dbus_broker", size.name);
        let broker = Who::Broker(Which::DbusBroker);
        return match of(broker) {
            Some(theirs) => bar_of_ratio(&name, ours, theirs, 0.3),
            None => not_measured(&name, broker.missing()),
        };
    }
    if let Some(raw) = of(Who::Raw) {
        bar_of_ratio(&format!("bus_call_{}_vs_raw", size.name), ours, raw, 1.5);
    }
    for ((_, who, _), worst) in AGAINST.iter().zip(worst) {
        if let Some(theirs) = of(*who) {
            *worst = Some(worst.unwrap_or(0.0).max(ours.ratio(theirs)));
        }
    }
}
