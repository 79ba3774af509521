//! Part `net`: what an app's firewall costs, and whether it holds while policies come and go.
//!
//! On the host, over the loopback of a namespace: the firewall's own programs, put on a cgroup as `sandboxd` does, and
//! `netd`'s own code that writes their tables. The same program, once in that cgroup and once outside of it, in turn.
//! Over cables between namespaces: how long it takes until there is a network.
//! On a device: what `netd` takes of memory with fifty apps.

mod online;
mod place;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use device_test::{App, Bench, PATIENCE};
use firewall::tables::{App as Entry, Key, Rule};

use crate::programs::compile;
use crate::stat::{Samples, bar, bar_at_least, bar_of_ratio};
use place::{APP, Place, policy};

/// Where somebody serves; nobody serves above it.
const PORT: u16 = 9000;
/// Rules that are loaded, of apps that do nothing.
const RULES: usize = 1000;
/// Lines of `connect` of one of them.
const LINES: usize = 20;
/// Connections that are timed at once.
const CONNECTS: u32 = 200;
/// Bytes that are sent at once.
const BYTES: u32 = 64 << 20;
/// Policies that come and go.
const CYCLES: u16 = 1000;
/// Rounds of what takes seconds.
const ONLINE_ROUNDS: usize = 7;
/// Apps on the device.
const APPS: usize = 50;
/// `netd`'s uid.
const NETD: u32 = 1003;

/// Measures and reports.
pub(crate) fn run(dir: &Path, rounds: usize) -> Result<()> {
    let place = Place::new(&compile(dir, "net-peer", include_str!("peer.c"))?)?;
    costs(&place, rounds)?;
    cycles(&place)?;
    online::run(dir, rounds.min(ONLINE_ROUNDS))?;
    memory()
}

fn costs(place: &Place, rounds: usize) -> Result<()> {
    let mut rules = place.rules()?;
    for app in 0..RULES / LINES {
        let uid = APP + 1 + u32::try_from(app)?;
        let lines: Vec<String> = (0..LINES).map(|line| format!("10.1.{app}.{line}:443/tcp")).collect();
        rules.set(&policy(uid, &lines)?)?;
    }
    rules.set(&policy(APP, &[format!("127.0.0.1:{PORT}/tcp")])?)?;
    let loaded = place.maps()?.rules.entries::<{ Key::BYTES }, { Rule::BYTES }>()?.len();
    ensure!(loaded > RULES, "only {loaded} rules are loaded");
    println!("net: connections over loopback, with {loaded} rules loaded, {rounds} rounds in turn");
    let (mut server, mut behind, mut free) = (place.start(false)?, place.start(true)?, place.start(false)?);
    server.ask(&format!("serve {PORT}"))?;
    let mut all: [Samples; 6] = Default::default();
    let [refused, closed, connect, connect_free, send, send_free] = &mut all;
    let (bad, good) = (format!("connect {} {CONNECTS}", PORT + 1), format!("connect {PORT} {CONNECTS}"));
    let bytes = format!("send {PORT} {BYTES}");
    // Who comes second finds the way warm, so they take turns in that too.
    for round in 0..rounds {
        for behind_now in [round % 2 == 0, round % 2 != 0] {
            if behind_now {
                refused.push(behind.time(&bad, "EPERM")?);
                connect.push(behind.time(&good, "ok")?);
                send.push(behind.time(&bytes, "ok")?);
            } else {
                closed.push(free.time(&bad, "ECONNREFUSED")?);
                connect_free.push(free.time(&good, "ok")?);
                send_free.push(free.time(&bytes, "ok")?);
            }
        }
    }
    refused.print("a connect that the firewall refuses");
    closed.print("a connect to a port where nobody serves");
    bar_of_ratio("net_refused_vs_local_refused", refused, closed, 1.2);
    connect.print("a connect that it allows");
    connect_free.print("the same without a firewall");
    bar_of_ratio("net_connect", connect, connect_free, 1.10);
    send.print("64 MiB over one connection");
    send_free.print("the same without a firewall");
    // More is better: the ratio of the throughputs is that of the times, turned round.
    bar_at_least("net_throughput", send_free.ratio(send), 0.95);
    Ok(())
}

/// An app connects without end while its policy, and that of another, are replaced and removed.
fn cycles(place: &Place) -> Result<()> {
    let mut rules = place.rules()?;
    for uid in rules.uids()? {
        rules.remove(uid)?;
    }
    let granted = format!("127.0.0.1:{PORT}/tcp");
    let with = |line: String| policy(APP, &[granted.clone(), line]);
    rules.set(&with("10.9.9.9:1/tcp".to_owned())?)?;
    let (mut server, mut app) = (place.start(false)?, place.start(true)?);
    server.ask(&format!("serve {PORT}"))?;
    app.ask(&format!("try {PORT} {}", PORT + 1))?;
    for cycle in 0..CYCLES {
        rules.set(&with(format!("10.9.9.9:{}/tcp", cycle + 2))?)?;
        rules.set(&policy(APP + 1, &[format!("127.0.0.1:{}/tcp", PORT + 1)])?)?;
        rules.remove(APP + 1)?;
    }
    let said = app.ask("")?;
    let counts: Vec<u32> = said.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [shut, open, tries] = counts[..] else { anyhow::bail!("the bench's peer said {said}") };
    ensure!(tries > 0, "nothing was tried while policies changed");
    rules.remove(APP)?;
    // What is left in the kernel once nobody has a policy any more.
    let maps = place.maps()?;
    let stale = maps.rules.entries::<{ Key::BYTES }, { Rule::BYTES }>()?.len();
    let stale = stale + maps.apps.entries::<4, { Entry::BYTES }>()?.len();
    println!(
        "net: {CYCLES} policies set and removed while an app connected {tries} times; {shut} were shut out, {open} got through"
    );
    bar("net_policy_cycles_stale_rules", stale as f64, 0.0);
    bar("net_policy_cycles_open_windows", f64::from(shut + open), 0.0);
    Ok(())
}

fn memory() -> Result<()> {
    println!("net: netd on a device with {APPS} apps, each with two hosts");
    let mut bench = Bench::new("bench-net").memory_mib(256);
    for number in 0..APPS {
        let hosts =
            format!("[network]\nconnect = [\"a{number}.example:443/tcp\", \"b{number}.example:8883/tcp\"]\n");
        bench = bench.app(App::small(&format!("org.bench.a{number}")).tables(&hosts));
    }
    let mut device = bench.boot()?;
    for number in 0..APPS {
        device.wait_count(0, &format!("[org.bench.a{number}] I run"), 1, PATIENCE);
    }
    let netd = *device.pids(NETD, "netd").first().context("no netd")?;
    let text = device.ask(&format!("cat /proc/{netd}/smaps_rollup"))?;
    let pss = text.iter().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    bar("net_netd_pss_kib", pss.split_whitespace().next().context("Pss")?.parse()?, 4096.0);
    Ok(())
}
