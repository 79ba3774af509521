//! What a device under test boots: this tree's system with the agent added, and the test's own app store.

use crate::app::App;
use crate::foreign;
use anyhow::{Context, Result, bail};
use image::assemble::{self, Audience, Bootable};
use image::command::{cargo, visibly};
use image::paths::{BoardLayout, Release, Tree};
use image::root::{self, SystemBox};
use image::stamp::Stamp;
use image::verity::{self, Verified};
use image::{binaries, erofs, stage, store};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const UUID: &str = "67616269-6f6e-4000-8000-746573740000";

/// A kernel, a root as it ships, the same with the agent.
#[derive(Clone)]
struct System {
    kernel: PathBuf,
    root: Verified,
    with_agent: Verified,
}

/// What the tests of this process boot, each made once.
static SYSTEMS: Mutex<Vec<(Kind, Release, BoardLayout, System)>> = Mutex::new(Vec::new());

/// What a test may have besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Of which kind the system is.
    pub(crate) kind: Kind,
    /// What `os.gabion.testagent` is, a box of the system for tests.
    pub(crate) system_box: Option<Member>,
}

/// What a system is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What ships.
    Shipped(Audience),
    /// Its boxes may lack layers, each that its app's file `weak` names: for `tests/attack`.
    Weak,
}

/// See [`Wanted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// It says that it lives.
    Beat,
    /// It calls every interface of the system.
    Foreign,
    /// It stands in for the update daemon.
    Updater,
}

impl Kind {
    fn audience(self) -> Audience {
        match self {
            Self::Shipped(audience) => audience,
            Self::Weak => Audience::Production,
        }
    }
}

/// The profile of this package's own programs.
const PROFILE: &str = "beside";

/// One of this package's own programs, static. Built with the system.
pub(crate) fn program(tree: &Tree, name: &str) -> Result<PathBuf> {
    Ok(programs(tree).join(binaries::TARGET).join(PROFILE).join(name))
        .and_then(|path| if path.exists() { Ok(path) } else { bail!("{} was not built", path.display()) })
}

fn programs(tree: &Tree) -> PathBuf {
    tree.target.join("device-test")
}

/// The kernel and the root image with the agent.
pub(crate) fn system(tree: &Tree, wanted: Wanted) -> Result<(PathBuf, Verified)> {
    let made = made(tree, wanted.kind)?;
    let Some(member) = wanted.system_box else { return Ok((made.kernel, made.with_agent)) };
    let manifests = tree.root.join("tests/device/system");
    let (manifest, contents) = match member {
        Member::Beat => ("testagent", program(tree, "test-probe")?),
        Member::Updater => ("updater", program(tree, "test-updater")?),
        Member::Foreign => ("foreign", foreign::packed(tree)?.join("root")),
    };
    let member = SystemBox { manifest: manifests.join(format!("{manifest}.toml")), contents };
    let image = format!("{}-{manifest}.img", name(wanted.kind));
    Ok((made.kernel, with_agent(tree, &made.root, Some(&member), &image)?))
}

fn made(tree: &Tree, kind: Kind) -> Result<System> {
    let mut systems = SYSTEMS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let same = systems.iter().find(|(of_kind, release, layout, _)| {
        *of_kind == kind && *release == tree.release && *layout == tree.layout
    });
    if let Some((.., system)) = same {
        return Ok(system.clone());
    }
    build_programs(tree)?;
    let (kernel, root) = match kind {
        Kind::Shipped(audience) => assemble::system(tree, audience)?,
        Kind::Weak => assemble::weak_system(tree)?,
    };
    let with_agent = with_agent(tree, &root, None, &format!("{}.img", name(kind)))?;
    let system = System { kernel: kernel.bzimage, root, with_agent };
    systems.push((kind, tree.release.clone(), tree.layout.clone(), system.clone()));
    Ok(system)
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Shipped(Audience::Production) => "test-root",
        Kind::Shipped(Audience::Developers) => "test-root-developer",
        Kind::Weak => "test-root-weak",
    }
}

/// Builds this package's own programs, if they are not.
pub(crate) fn build_programs(tree: &Tree) -> Result<()> {
    visibly(
        cargo()
            .current_dir(&tree.root)
            .args(["build", "--quiet", "--profile", PROFILE, "--target", binaries::TARGET])
            .args(["-p", "gabion-device-test", "--no-default-features", "--bins"])
            .env("CARGO_TARGET_DIR", programs(tree))
            .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
            .env_remove("RUSTFLAGS"),
    )
}

/// The root as it ships and one file more, the agent, and `member`. Everything that is there is what the root image was
/// made of.
fn with_agent(tree: &Tree, root: &Verified, member: Option<&SystemBox>, image: &str) -> Result<Verified> {
    let _lock = assemble::lock(tree)?;
    let agent = program(tree, "test-agent")?;
    let image = tree.image(image);
    let words = image.with_extension("verity");
    let mut stamp = Stamp::new("test root 3").text(&root.root_hash).path(&agent)?;
    if let Some(member) = member {
        stamp = stamp.path(&member.manifest)?.path(&member.contents)?;
    }
    if stamp.fits(&image)
        && let Some(made) =
            fs::read_to_string(&words).ok().and_then(|text| Verified::from_text(&image, &text))
    {
        return Ok(made);
    }
    let staged = image.with_extension("staged");
    stage::fresh(&staged)?;
    stage::copy(&root.image.with_extension("staged"), &staged).context("the root image's files")?;
    stage::copy(&agent, &staged.join("sbin/test-agent"))?;
    if let Some(member) = member {
        root::add_box(&staged.join("usr/share/gabion/system"), member)?;
    }
    stage::normalise(&staged)?;
    // As in what ships: it has to fit a slot.
    stage::share(&staged)?;
    erofs::format(&staged, UUID, &image)?;
    let made = verity::append(&image, UUID)?;
    fs::write(&words, made.to_text())?;
    stamp.keep(&image)?;
    Ok(made)
}

/// What is in a store beside the apps, as text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    /// `network.toml`
    pub(crate) network: Option<String>,
    /// `service.toml`
    pub(crate) service: Option<String>,
    /// `update.toml`
    pub(crate) update: Option<String>,
    /// `update-root.json`
    pub(crate) update_root: Option<String>,
}

/// A bootable set with a store of `apps`, made in `place`, and of these settings.
pub(crate) fn bootable(
    tree: &Tree,
    apps: &[App],
    texts: &Texts,
    wanted: Wanted,
    place: &Path,
) -> Result<Bootable> {
    let (kernel, root) = system(tree, wanted)?;
    let directories =
        apps.iter().map(|app| app.lay_out(tree, &place.join("apps"))).collect::<Result<Vec<_>>>()?;
    let apps = store::build(&directories, &settings(texts, place)?, &place.join("apps.img"))?;
    Ok(Bootable { kernel, root, apps, audience: wanted.kind.audience() })
}

/// The files of a store's settings, made in `place`.
fn settings(texts: &Texts, place: &Path) -> Result<store::Settings> {
    let write = |name: &str, text: &Option<String>| {
        let file = place.join(name);
        text.as_ref().map(|text| fs::write(&file, text).map(|()| file.clone())).transpose()
    };
    Ok(store::Settings {
        network: write("network.toml", &texts.network)?,
        service: write("service.toml", &texts.service)?,
        update: write("update.toml", &texts.update)?,
        update_root: write("update-root.json", &texts.update_root)?,
    })
}

/// The shipped demo's store, of these settings, on the system with the agent.
pub(crate) fn demo(tree: &Tree, texts: &Texts, wanted: Wanted, place: &Path) -> Result<Bootable> {
    let (kernel, root) = system(tree, wanted)?;
    let settings = settings(texts, place)?;
    Ok(Bootable { kernel, root, ..assemble::demo_with(tree, wanted.kind.audience(), &settings)? })
}

/// The tool of app developers and operators, built for this machine, once.
///
/// # Errors
/// It does not compile.
pub fn gabion(tree: &Tree) -> Result<PathBuf> {
    tool_of_ours(tree, "gabion")
}

/// The Security Service, built for this machine, once.
///
/// # Errors
/// It does not compile.
pub fn service(tree: &Tree) -> Result<PathBuf> {
    tool_of_ours(tree, "gabion-service")
}

/// The local end of a program's TLS connections, as it goes into an app.
pub(crate) fn tls(tree: &Tree) -> Result<Vec<u8>> {
    let _lock = assemble::lock(tree)?;
    Ok(fs::read(binaries::build(tree, &[&["gabion-tls"]])?.path("gabion-tls"))?)
}

fn tool_of_ours(tree: &Tree, name: &'static str) -> Result<PathBuf> {
    static BUILT: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let program = tree.target.join("debug").join(name);
    let mut built = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if built.contains(&name) {
        return Ok(program);
    }
    visibly(
        // With the features that it has beside the rest: another build of it would take the place of one that is in use.
        cargo()
            .current_dir(&tree.root)
            .args(["build", "--quiet", "--workspace", "--bin", name])
            .env("CARGO_TARGET_DIR", &tree.target),
    )?;
    built.push(name);
    Ok(program)
}

/// Changes the first byte of each place where `needle` stands in the data of `image`.
pub(crate) fn spoil(image: &Verified, needle: &[u8]) -> Result<()> {
    let mut bytes = fs::read(&image.image)?;
    let data = usize::try_from(image.data_blocks * verity::BLOCK)?.min(bytes.len());
    let found: Vec<usize> = bytes
        .get(..data)
        .unwrap_or_default()
        .windows(needle.len())
        .enumerate()
        .filter_map(|(at, window)| (window == needle).then_some(at))
        .collect();
    if found.is_empty() {
        bail!("what is to be corrupted is not in {}", image.image.display());
    }
    for at in found {
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 0x55;
        }
    }
    Ok(fs::write(&image.image, bytes)?)
}
