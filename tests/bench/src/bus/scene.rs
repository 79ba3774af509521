//! The boxes of the bus that is measured: one that serves, several that call, the router, and who tells it the state.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use image::binaries;
use image::paths::Tree;
use policy::{Board, Plan};
use tempfile::TempDir;

use super::boxed::Boxed;
use super::router::Router;
use crate::subject::Subject;

/// The interface that is called.
pub(super) const INTERFACE: &str = "org.gabion.Bench";
/// Its methods, sorted.
pub(super) const METHODS: [&str; 3] = ["Echo", "Share", "Take"];
/// The box that serves.
pub(super) const SERVER: u32 = 19_910;
/// Boxes that call: "several" of the bar on memory.
pub(super) const CALLERS: [u32; 5] = [19_911, 19_912, 19_913, 19_914, 19_915];
/// The name of our programs in the boxes.
const PEER: &str = "/bin/app";

/// See the module. Dropped in order: who talks first, the directory last.
pub(super) struct Scene {
    _serving: Boxed,
    /// The router.
    pub(super) router: Router,
    /// The box that serves.
    pub(super) server: Subject,
    /// The boxes that call.
    pub(super) callers: Vec<Subject>,
    /// Whether there is a program made with zbus in the boxes.
    pub(super) has_zbus: bool,
    /// Where all of it is.
    pub(super) dir: TempDir,
}

impl Scene {
    /// Builds the boxes, starts the router and the server.
    pub(super) fn build() -> Result<Scene> {
        let dir = tempfile::Builder::new().prefix("gabion-bench").tempdir()?;
        let built =
            binaries::build(&Tree::here()?, &[&["gabion-bench-peer"], &["gabion-busd"], &["gabion-bench"]])?;
        let zbus = super::brokers::zbus_program()?;
        let peer = built.path("bench-peer");
        let mut programs = vec![("app", peer.as_path())];
        programs.extend(zbus.as_deref().map(|program| ("zbus", program)));
        let build = |uid: u32, text: &str| Subject::of(dir.path(), uid, plan(text)?, &programs, None);
        let server = build(SERVER, &server_manifest())?;
        let callers =
            CALLERS.iter().map(|uid| build(*uid, &caller_manifest(*uid))).collect::<Result<Vec<_>>>()?;
        let router =
            Router::start(dir.path(), &built.path("gabion-bench"), &built.path("busd"), &server, &callers)?;
        let serving = Boxed::start(&server, &[PEER, "bus-server"])?;
        Ok(Scene { _serving: serving, router, server, callers, has_zbus: zbus.is_some(), dir })
    }

    /// The box of the caller that is measured.
    pub(super) fn caller(&self) -> Result<&Subject> {
        self.callers.first().context("no caller")
    }

    /// A program of ours in the caller's box.
    pub(super) fn call(&self, args: &[&str]) -> Result<Boxed> {
        start(self.caller()?, args)
    }

    /// A program of ours in the box that may make memory.
    pub(super) fn share_memory(&self, args: &[&str]) -> Result<Boxed> {
        start(self.callers.last().context("no caller")?, args)
    }

    /// Puts a socket into the box that serves and the one of the caller that is measured.
    pub(super) fn share(&self, socket: &Path) -> Result<()> {
        share(socket, &[&self.server, self.caller()?])
    }
}

/// A program of ours in a box.
pub(super) fn start(subject: &Subject, args: &[&str]) -> Result<Boxed> {
    let mut all = vec![PEER];
    all.extend_from_slice(args);
    Boxed::start(subject, &all)
}

/// As [`start`], with a listening socket as standard input.
pub(super) fn listen(subject: &Subject, args: &[&str], socket: std::os::fd::OwnedFd) -> Result<Boxed> {
    let mut all = vec![PEER];
    all.extend_from_slice(args);
    Boxed::serve(subject, &all, socket)
}

/// Puts a socket that somebody outside listens at into the `/run` of boxes, under its own name, for everybody.
pub(super) fn share(socket: &Path, boxes: &[&Subject]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let name = socket.file_name().context("a socket without a name")?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    for subject in boxes {
        std::fs::hard_link(socket, subject.run.join(name))?;
    }
    Ok(())
}

/// Where a box sees a shared socket.
pub(super) fn in_box(socket: &Path) -> Result<String> {
    let name = socket.file_name().context("a socket without a name")?;
    Ok(format!("/run/{}", name.to_string_lossy()))
}

fn plan(text: &str) -> Result<Plan> {
    let manifest = policy::check(text, &Board::default()).map_err(|e| anyhow!("{e:?}"))?;
    Ok(policy::compile(&manifest))
}

/// The id of the app in a calling box.
pub(super) fn app(uid: u32) -> String {
    format!("org.gabion.bench.caller{uid}")
}

/// The box that makes memory to be shared: no other one may (`memfd_create` would undo W^X).
const MAKES_MEMORY: u32 = CALLERS[4];

fn caller_manifest(uid: u32) -> String {
    let jit = if uid == MAKES_MEMORY { "[process]\njit = true\n" } else { "" };
    let methods = METHODS.map(|method| format!("\"{method}\"")).join(", ");
    format!("{}{jit}[uses]\n\"{INTERFACE}\" = [{methods}]\n", head(&app(uid)))
}

fn server_manifest() -> String {
    let apps = CALLERS.map(|uid| format!("\"{}\"", app(uid))).join(", ");
    format!("{}[provides]\n\"{INTERFACE}\" = [{apps}]\n", head("org.gabion.bench.server"))
}

fn head(id: &str) -> String {
    format!(
        "[app]\nid = \"{id}\"\nversion = \"1.0.0\"\nexec = [\"{PEER}\"]\n\
         [resources]\nstorage = \"1MiB\"\nopen_files = 2048\n"
    )
}
