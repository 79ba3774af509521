//! `make surface`: how many syscalls a box reaches, and how many with the usual filter of other systems.
//!
//! Ours are counted from the compiled filters (`policy::reached`), with any arguments; those of others by the names
//! that their own lists allow, of those that this machine's architecture has. Nothing here judges how dangerous a call
//! is. What a peer's package does not carry is said in its place.

use crate::command::output;
use crate::debian;
use crate::paths::Tree;
use anyhow::{Context, Result, bail};
use policy::{Board, check, check_system};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Every syscall of this architecture by name, `__NR_NAME NUMBER` a line. Of the package linux-libc-dev.
#[cfg(target_arch = "x86_64")]
const NUMBERS: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";
#[cfg(target_arch = "aarch64")]
const NUMBERS: &str = "/usr/include/asm-generic/unistd.h";
/// The architecture as Docker's list calls it.
#[cfg(target_arch = "x86_64")]
const GO_ARCH: &str = "amd64";
#[cfg(target_arch = "aarch64")]
const GO_ARCH: &str = "arm64";

/// Docker's own default, and Podman's.
const DOCKER: (&str, &str) = (
    "golang-github-docker-docker-dev",
    "/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json",
);
const PODMAN: (&str, &str) = ("golang-github-containers-common", "/usr/share/containers/seccomp.json");
/// What a container of theirs holds without being asked: `CAP_SYS_CHROOT` and others that open no syscalls.
const CAPABILITIES: [&str; 1] = ["CAP_SYS_CHROOT"];

/// All that can be granted to an app, `jit` aside.
const GRANTS: &str = "[network]\nlisten = [\"1/tcp\", \"1/udp\"]\n[uses]\n\"os.gabion.Device\" = [\"GetInfo\"]\n\
                      [devices]\nserial = [\"/dev/ttyS0\"]\n";

/// Prints every count, and ours against their bars; an error if one is above it.
pub fn surface(tree: &Tree) -> Result<()> {
    println!("surface: syscalls reached with any arguments, of those that this architecture has");
    let strict = count(&app("strict", "")?);
    let default = count(&app("default", "")?);
    line("gabion strict", strict, "a static program; no grant");
    line("gabion strict, all grants", count(&app("strict", GRANTS)?), "TCP, UDP, the bus, a serial line");
    line("gabion default", default, "no grant");
    line("gabion default, all grants", count(&app("default", GRANTS)?), "TCP, UDP, the bus, a serial line");
    line(
        "gabion network-server, all grants",
        count(&app("network-server", GRANTS)?),
        "TCP, UDP, the bus, a serial line",
    );
    for filter in policy::SystemFilter::ALL {
        line(&format!("gabion's own {filter}"), count(&daemon(filter.as_str())?), "a filter of its own");
    }
    let every = every_call()?;
    peers(tree, &every)?;
    println!();
    let kept = [bar("surface_strict", strict, 90), bar("surface_default", default, 130)];
    if kept.contains(&false) {
        bail!("a profile reaches more than it promises");
    }
    Ok(())
}

fn peers(tree: &Tree, every: &BTreeSet<String>) -> Result<()> {
    let of = |(package, path): (&str, &str)| -> Result<usize> {
        let packages = debian::extracted(&tree.debian(), &[package.to_owned()])?;
        let file = debian::find(&packages, path).with_context(|| format!("no {path} in {package}"))?;
        let allowed = container(&file)?;
        Ok(allowed.intersection(every).count())
    };
    match system_service() {
        Ok(allowed) => {
            line(
                "systemd @system-service",
                allowed.intersection(every).count(),
                "systemd-analyze syscall-filter",
            );
        }
        Err(error) => println!("  systemd @system-service: not counted: {error:#}"),
    }
    line("Docker's default", of(DOCKER)?, DOCKER.0);
    line("Podman's default", of(PODMAN)?, PODMAN.0);
    line("bubblewrap", every.len(), "it has no filter unless it is given one");
    line("minijail", every.len(), "it has no filter unless it is given one; each service writes its own");
    Ok(())
}

fn line(what: &str, calls: usize, note: &str) {
    println!("  {what:<36} {calls:>4}   {note}");
}

fn bar(name: &str, value: usize, limit: usize) -> bool {
    let kept = value <= limit;
    println!("bar: {name} value={value} limit={limit} {}", if kept { "ok" } else { "SHORT" });
    kept
}

fn count(calls: &[String]) -> usize {
    calls.len()
}

fn app(profile: &str, grants: &str) -> Result<Vec<String>> {
    let text = format!(
        "[app]\nid = \"a.b.c\"\nversion = \"1.0.0\"\nexec = [\"/x\"]\n[process]\nprofile = \"{profile}\"\n{grants}"
    );
    let manifest = check(&text, &Board::default()).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    Ok(policy::reached(&manifest))
}

fn daemon(filter: &str) -> Result<Vec<String>> {
    let text = format!(
        "[app]\nid = \"os.gabion.x\"\nversion = \"1.0.0\"\nexec = [\"/x\"]\n\
         [process]\nprofile = \"strict\"\n[system]\nfilter = \"{filter}\"\n"
    );
    let manifest = check_system(&text, &Board::default()).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    Ok(policy::reached_by_system(&manifest))
}

fn every_call() -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(NUMBERS).with_context(|| format!("{NUMBERS}: install linux-libc-dev"))?;
    let names = text.lines().filter_map(|line| line.strip_prefix("#define __NR_")?.split_whitespace().next());
    Ok(names.map(ToOwned::to_owned).collect())
}

/// What a container's default allows: every rule whose action is to allow, with whatever arguments, unless it is for
/// other architectures or for capabilities that a container does not hold.
fn container(file: &Path) -> Result<BTreeSet<String>> {
    let list: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let rules = list["syscalls"].as_array().context("no list of syscalls")?;
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    };
    let applies = |rule: &Value| {
        let (with, without) = (&rule["includes"], &rule["excludes"]);
        let held = |caps: &Value| texts(caps).iter().all(|cap| CAPABILITIES.contains(&cap.as_str()));
        let here = |arches: &Value| texts(arches).iter().any(|arch| arch == GO_ARCH);
        rule["action"] == "SCMP_ACT_ALLOW"
            && held(&with["caps"])
            && (with["arches"].is_null() || here(&with["arches"]))
            && (without["caps"].is_null() || !held(&without["caps"]))
            && !here(&without["arches"])
    };
    Ok(rules.iter().filter(|rule| applies(rule)).flat_map(|rule| texts(&rule["names"])).collect())
}

/// The calls of `@system-service`, its groups resolved.
fn system_service() -> Result<BTreeSet<String>> {
    let mut calls = BTreeSet::new();
    let (mut groups, mut known) = (vec!["@system-service".to_owned()], BTreeSet::new());
    while let Some(group) = groups.pop() {
        if !known.insert(group.clone()) {
            continue;
        }
        let text = output(Command::new("systemd-analyze").args(["--no-pager", "syscall-filter", &group]))?;
        for word in
            text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            if word.starts_with('@') { groups.push(word.to_owned()) } else { calls.extend([word.to_owned()]) }
        }
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_rules_for_others_are_left_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rules = r#"{"syscalls": [
            {"names": ["read", "old"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
            {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
            {"names": ["s390"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["mount"], "action": "SCMP_ACT_ERRNO"}
        ]}"#;
        fs::write(file.path(), rules).unwrap();
        let allowed: Vec<String> = container(file.path()).unwrap().into_iter().collect();
        assert_eq!(allowed, ["chroot", "clone", "old", "read"]);
    }

    #[test]
    fn profiles_are_counted_from_their_programs() {
        let (strict, default) = (app("strict", "").unwrap(), app("default", GRANTS).unwrap());
        assert!(strict.len() > 50 && strict.len() < default.len());
        assert!(strict.contains(&"read".to_owned()) && !strict.contains(&"ptrace".to_owned()));
        assert!(default.contains(&"socket".to_owned()));
    }
}
