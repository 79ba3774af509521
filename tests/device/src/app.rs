//! Apps as a test writes them: a manifest and a few files; what runs is Debian's static busybox or our probe.

use crate::mutant::mutant;
use crate::site::Site;
use crate::{foreign, images, programs};
use anyhow::{Context, Result};
use image::command::{tool, visibly};
use image::paths::Tree;
use image::stage;
use image::verity::{self, Verified};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const BUSYBOX: &str = "/bin/busybox";
/// The program that only [`App::broker_peer`] has.
const BROKER_PEER: &str = "test-broker-peer";
/// Names under which the tests' scripts call busybox.
const APPLETS: [&str; 16] = [
    "sh", "cat", "dd", "env", "grep", "head", "id", "kill", "ls", "mount", "rm", "seq", "sleep", "sync",
    "true", "yes",
];

/// An app to be put into a test's store.
#[derive(Clone, Debug)]
pub struct App {
    id: String,
    directory: String,
    exec: String,
    resources: String,
    lifecycle: String,
    rest: String,
    manifest: Option<String>,
    version: &'static str,
    files: Vec<(String, Vec<u8>)>,
    absent: Vec<String>,
    lacking: Option<String>,
    image: Image,
    packed: Option<Packed>,
    bare: bool,
    small: bool,
}

/// An app that is made as those of the demo are, with its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packed {
    Foreign,
    Program,
    Visitor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Image {
    No,
    Good,
    Corrupt,
    Mutant(u64),
}

impl App {
    /// An app that runs `script` with busybox's shell, always again.
    pub fn shell(id: &str, script: &str) -> Self {
        let app = Self::of(id, r#"["/bin/sh", "/bin/run"]"#);
        app.file("bin/run", script)
    }

    /// An app that runs the probe with these words.
    pub fn probe(id: &str, words: &[&str]) -> Self {
        let words: Vec<String> =
            std::iter::once(&"/bin/test-probe").chain(words).map(|w| format!("{w:?}")).collect();
        Self::of(id, &format!("[{}]", words.join(", ")))
    }

    /// An app that runs the peer on the bus with these words.
    pub fn peer(id: &str, words: &[&str]) -> Self {
        let words: Vec<String> =
            std::iter::once(&"/bin/test-bus-peer").chain(words).map(|w| format!("{w:?}")).collect();
        Self::of(id, &format!("[{}]", words.join(", ")))
    }

    /// An app that attacks the broker of the root of trust.
    pub fn broker_peer(id: &str) -> Self {
        Self::of(id, &format!("[\"/bin/{BROKER_PEER}\", \"attack\"]"))
    }

    /// An app of a few hundred bytes that says `I run` and stays.
    pub fn small(id: &str) -> Self {
        Self { small: true, ..Self::of(id, r#"["/bin/bare"]"#) }
    }

    fn of(id: &str, exec: &str) -> Self {
        Self {
            id: id.to_owned(),
            directory: id.to_owned(),
            exec: exec.to_owned(),
            resources: "memory = \"8MiB\"\ncpu = \"50%\"\ntasks = 8\n".to_owned(),
            lifecycle: "restart = \"always\"\n".to_owned(),
            rest: String::new(),
            manifest: None,
            version: "1.0.0",
            files: Vec::new(),
            absent: Vec::new(),
            lacking: None,
            image: Image::No,
            packed: None,
            bare: false,
            small: false,
        }
    }

    /// python-varlink, which calls what an app may; complete with its manifest.
    pub fn foreign() -> Self {
        Self { packed: Some(Packed::Foreign), ..Self::of("org.test.foreign", "[]") }
    }

    /// The Debian program `name` of `tests/programs/apps`, complete with its manifest; its id is `org.test.` and its name.
    pub fn program(name: &str) -> Self {
        Self { packed: Some(Packed::Program), ..Self::of(&format!("org.test.{name}"), "[]") }
    }

    /// The Debian program `name` of `tests/device/visitors`, complete with its manifest, for a device beside `site`: it trusts
    /// the site's authority.
    ///
    /// # Errors
    /// The site has no authority.
    pub fn visitor(name: &str, site: &Site) -> Result<Self> {
        let app = Self { packed: Some(Packed::Visitor), ..Self::of(&format!("org.test.{name}"), "[]") };
        Ok(app.file("etc/ca.pem", site.authority()?))
    }

    /// An app with this manifest, and nothing in its root but the files it is given.
    pub fn bare(id: &str, manifest: &str) -> Self {
        Self { bare: true, ..Self::of(id, "[]") }.manifest(manifest)
    }

    /// With `gabion-tls` in it, at `/bin/gabion-tls`.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn tls(self) -> Result<Self> {
        let program = images::tls(&Tree::here()?)?;
        Ok(self.file("bin/gabion-tls", program))
    }

    /// The lines of `[resources]`.
    pub fn resources(mut self, lines: &str) -> Self {
        self.resources = lines.to_owned();
        self
    }

    /// The lines of `[lifecycle]`.
    pub fn lifecycle(mut self, lines: &str) -> Self {
        self.lifecycle = lines.to_owned();
        self
    }

    /// Further tables of the manifest.
    pub fn tables(mut self, text: &str) -> Self {
        self.rest = text.to_owned();
        self
    }

    /// The whole manifest instead.
    pub fn manifest(mut self, text: &str) -> Self {
        self.manifest = Some(text.to_owned());
        self
    }

    /// The name of its directory in the store, when it is not the id.
    pub fn directory(mut self, name: &str) -> Self {
        self.directory = name.to_owned();
        self
    }

    /// A further file, executable, at `path` below its root.
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.push((path.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// Leaves the file or directory at `path`, from the app's directory, out again.
    pub fn without(mut self, path: &str) -> Self {
        self.absent.push(path.to_owned());
        self
    }

    /// Without these layers, where the system is one that can leave layers out ([`crate::Bench::weak`]).
    pub fn lacking(mut self, layers: &[&str]) -> Self {
        self.lacking = Some(layers.join(" "));
        self
    }

    /// Its root is an image of its own.
    pub fn image(mut self) -> Self {
        self.image = Image::Good;
        self
    }

    /// The same, with one byte in each block of the image's data changed after its root hash was taken.
    pub fn corrupt_image(mut self) -> Self {
        self.image = Image::Corrupt;
        self
    }

    /// Its root is the damaged image of this number, under a root hash of its own.
    pub fn mutant(mut self, number: u64) -> Self {
        self.image = Image::Mutant(number);
        self
    }

    fn text(&self) -> String {
        if let Some(text) = &self.manifest {
            return text.clone();
        }
        let Self { id, version, exec, resources, lifecycle, rest, .. } = self;
        format!(
            "[app]\nid = \"{id}\"\nversion = \"{version}\"\nexec = {exec}\n[resources]\n{resources}[lifecycle]\n{lifecycle}{rest}"
        )
    }

    /// In this version.
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Packs it as whoever releases it does; gives its directory below `place`.
    ///
    /// # Errors
    /// It can not be packed.
    pub fn packed(&self, place: &Path) -> Result<PathBuf> {
        let tree = Tree::here()?;
        // No device may have been put together yet.
        images::build_programs(&tree)?;
        self.lay_out(&tree, place)
    }

    /// Lays the app out below `place`; gives its directory.
    pub(crate) fn lay_out(&self, tree: &Tree, place: &Path) -> Result<PathBuf> {
        let app = place.join(&self.directory);
        if let Some(packed) = self.packed {
            let made = match packed {
                Packed::Foreign => foreign::packed(tree)?,
                Packed::Program => programs::packed(tree, "tests/programs/apps", &self.id)?,
                Packed::Visitor => programs::packed(tree, "tests/device/visitors", &self.id)?,
            };
            stage::copy(&made, &app)?;
            if let Some(text) = &self.manifest {
                stage::write(&app.join("manifest.toml"), text)?;
            }
            self.add_files(&app.join("root"))?;
            return Ok(app);
        }
        let root = app.join("root");
        stage::directories(&root, &stage::BOX_DIRECTORIES)?;
        stage::write(&app.join("manifest.toml"), self.text())?;
        if let Some(layers) = &self.lacking {
            stage::write(&app.join("weak"), layers)?;
        }
        match () {
            () if self.small => small(&root)?,
            () if self.bare => {}
            () => tools(tree, &root.join("bin"))?,
        }
        if self.exec.contains(BROKER_PEER) {
            stage::copy(&images::program(tree, BROKER_PEER)?, &root.join("bin").join(BROKER_PEER))?;
        }
        self.add_files(&root)?;
        for path in &self.absent {
            let at = app.join(path);
            if at.is_dir() { fs::remove_dir_all(&at) } else { fs::remove_file(&at) }
                .with_context(|| format!("leaving out {path}"))?;
        }
        if self.image != Image::No {
            stage::normalise(&root)?;
            image::pack::root_to_image(&app)?;
        }
        match self.image {
            Image::Corrupt => spoil(&app.join("root.img"))?,
            Image::Mutant(number) => mutate(&app, number)?,
            Image::No | Image::Good => {}
        }
        Ok(app)
    }

    fn add_files(&self, root: &Path) -> Result<()> {
        for (path, content) in &self.files {
            stage::write(&root.join(path), content)?;
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }
}

/// What the tests' scripts and manifests call.
fn tools(tree: &Tree, bin: &Path) -> Result<()> {
    stage::copy(Path::new(BUSYBOX), &bin.join("busybox"))
        .context("Debian's busybox-static is needed; `make packages` installs it")?;
    for program in ["test-probe", "test-bus-peer"] {
        stage::copy(&images::program(tree, program)?, &bin.join(program))?;
    }
    for applet in APPLETS {
        symlink("busybox", bin.join(applet))?;
    }
    Ok(())
}

/// `bin/bare`, and a few files more for whoever damages the image.
fn small(root: &Path) -> Result<()> {
    let source = root.join("bin/bare.c");
    stage::write(&source, include_str!("bare.c"))?;
    let options = ["-nostdlib", "-static", "-Os", "-Wl,-z,noexecstack", "-Wl,--build-id=none", "-s", "-o"];
    visibly(tool("gcc").args(options).arg(root.join("bin/bare")).arg(&source))?;
    fs::remove_file(&source)?;
    stage::write(&root.join("share/text"), "a line of text\n".repeat(900))?;
    stage::write(&root.join("share/deep/short"), "short\n")?;
    for number in 0..40 {
        stage::write(&root.join(format!("share/deep/{}-{number}", "long-name-".repeat(5))), "")?;
    }
    symlink("../text", root.join("share/deep/link"))?;
    Ok(())
}

/// Damages the image and takes its root hash anew, as an author would.
fn mutate(app: &Path, number: u64) -> Result<()> {
    let image = app.join("root.img");
    let text = fs::read_to_string(app.join("root.verity"))?;
    let good = Verified::from_text(&image, &text).context("root.verity was just made")?;
    let bytes = fs::read(&image)?;
    let data = usize::try_from(good.data_blocks * verity::BLOCK)?;
    fs::write(&image, mutant(bytes.get(..data).context("an image has data")?, number))?;
    let uuid = "67616269-6f6e-4000-8000-6d7574616e74";
    Ok(fs::write(app.join("root.verity"), verity::append(&image, uuid)?.to_text())?)
}

/// The first half of the file is data for sure: a hash tree is a hundredth of it.
fn spoil(image: &Path) -> Result<()> {
    let mut bytes = fs::read(image)?;
    let half = bytes.len() / 2;
    for byte in bytes.iter_mut().take(half).skip(100).step_by(4096) {
        *byte ^= 0x55;
    }
    Ok(fs::write(image, bytes)?)
}
