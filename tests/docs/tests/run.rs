//! Every command of the book, as its page has it, in the page's order; and the references, made anew.
//!
//! The pages that need a device have one between them, a developer's with the demo, which belongs to the Security Service that
//! `docs/service.md` starts. Service and device are on a network of their own, so that their ports are nobody else's; to other
//! pages the device is a socket.
//!
//! Needs root, QEMU, cargo, and what `gabion run` needs.

#![expect(clippy::unwrap_used, reason = "tests")]

use anyhow::{Context, Result, ensure};
use device_test::site::namespace::Namespace;
use device_test::{Bench, Device, images};
use docs_test::mark::Place;
use docs_test::page::{Block, Page};
use docs_test::shell::{Programs, Ran, Shell, commands};
use docs_test::{reference, shell, tree, trial};
use image::assemble::{self, Audience};
use image::paths::Tree;
use image::swtpm;
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// The ports of the device's page and of the Security Service.
const PORTS: (u16, u16) = (8080, 8443);

/// The page that starts the Security Service and the device.
const FIRST: &str = "docs/service.md";

fn programs() -> Programs {
    let tree = Tree::here().unwrap();
    Programs::new(vec![images::gabion(&tree).unwrap(), images::service(&tree).unwrap()])
}

/// The pages with commands that are run, and where.
fn pages() -> Vec<(Page, BTreeSet<Place>)> {
    let root = tree::root();
    let pages = tree::pages().unwrap().into_iter().map(|name| Page::read(&root, &name).unwrap());
    let places = |page: &Page| commands(page).unwrap().iter().map(|(_, place, ..)| *place).collect();
    let mut pages: Vec<(Page, BTreeSet<Place>)> =
        pages.map(|page| (places(&page), page)).map(|(p, page)| (page, p)).collect();
    pages.retain(|(_, places)| !places.is_empty());
    pages
}

/// Names one page for who writes it: `GABION_PAGE=docs/tutorial.md cargo test …`.
fn wanted(page: &Page) -> bool {
    env::var("GABION_PAGE").map_or(true, |name| page.name == name)
}

fn nothing(_: &mut Shell, _: &Block) -> Result<()> {
    Ok(())
}

#[test]
fn references_are_what_they_are_made_from() {
    let root = tree::root();
    let tree = Tree::here().unwrap();
    // Some commands of the tool become it, and so does their help.
    images::service(&tree).unwrap();
    let pages = reference::pages(&root, &images::gabion(&tree).unwrap()).unwrap();
    let stale = reference::stale(&root, &pages).unwrap();
    assert!(stale.is_empty(), "stale: {stale:?}; run `{}`", reference::COMMAND);
}

#[test]
fn pages_for_the_developers_machine_do_what_they_say() {
    let programs = programs();
    let mut wrong = Vec::new();
    for (page, places) in pages() {
        if places.iter().all(|place| *place == Place::Host) && wanted(&page) {
            let mut shell = Shell::start(&programs, &[]).unwrap();
            if let Err(error) = shell::run(&page, &mut shell, &mut nothing) {
                wrong.push(format!("{error:#}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The certificate of the maker of our boards' TPMs is there once one was made.
fn maker(tree: &Tree) -> Result<()> {
    if !swtpm::maker_folder(tree).join("issuercert.pem").exists() {
        swtpm::manufacture(tree, &tempfile::tempdir()?.path().join("tpm"))?;
    }
    Ok(())
}

/// Waits for a device that belongs to the service whose `service.toml` the page has made.
fn boot(network: &Namespace, shell: &Shell) -> Result<Device> {
    let settings = shell.home().join("gabion-service/service.toml");
    let settings = fs::read_to_string(&settings).with_context(|| settings.display().to_string())?;
    let bench = Bench::new("docs")
        .demo()
        .developer()
        .board()
        .memory_mib(192)
        .alone(PORTS.0, PORTS.1)
        .service(&settings);
    let device = network.inside(|| bench.boot())?;
    // The firmware is slow where KVM does not work: it has a limit of its own.
    device.wait_for("gabion: init up");
    device.wait_for("gabion: ready");
    let images = shell.folder().join("target/image");
    fs::create_dir_all(&images)?;
    symlink(device.system()?.reference, images.join("system-developer.reference.json"))?;
    Ok(device)
}

#[test]
fn pages_beside_a_device_do_what_they_say() {
    let programs = programs();
    // Packages of Debian come by the network, which is not there later.
    let tree = Tree::here().unwrap();
    assemble::demo(&tree, Audience::Developers).unwrap();
    maker(&tree).unwrap();
    let network = Namespace::new().unwrap();
    let up = || Ok(Command::new("ip").args(["link", "set", "lo", "up"]).status()?);
    assert!(network.inside(up).unwrap().success());
    let socket: PathBuf = tempfile::Builder::new().prefix("gabion-docs-").tempdir().unwrap().keep();
    let link = socket.join("device.sock");
    let started = || Shell::start(&programs, &[("GABION_DEVICE", &link)]);

    let mut device = None;
    let mut service = network.inside(started).unwrap();
    let first = Page::read(&tree::root(), FIRST).unwrap();
    let mut boots = |shell: &mut Shell, _: &Block| {
        ensure!(device.is_none(), "there is one device");
        let new = boot(&network, shell)?;
        symlink(new.port(), &link)?;
        device = Some(new);
        Ok(())
    };
    shell::run(&first, &mut service, &mut boots).unwrap();

    let mut wrong = Vec::new();
    let mut of_readme = None;
    for (page, places) in pages() {
        if page.name == FIRST || places.iter().all(|place| *place == Place::Host) || !wanted(&page) {
            continue;
        }
        let mut own = None;
        let shell =
            if places.contains(&Place::Service) { &mut service } else { own.insert(started().unwrap()) };
        match shell::run(&page, shell, &mut nothing) {
            Ok(ran) if page.name == trial::OF => of_readme = Some((page, ran)),
            Ok(_) => {}
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    if let (Some((page, ran)), true) = (of_readme, env::var_os("GABION_TRIAL").is_some()) {
        keep(&page, &ran);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    drop(service);
    device.context("a device").unwrap().power_button();
    fs::remove_dir_all(socket).unwrap();
}

/// Writes what the README's commands printed.
fn keep(page: &Page, ran: &[Ran]) {
    let steps: Vec<(&Block, &Ran)> =
        commands(page).unwrap().iter().map(|(block, ..)| *block).zip(ran).collect();
    fs::write(tree::root().join(trial::PAGE), trial::page(&steps)).unwrap();
}
