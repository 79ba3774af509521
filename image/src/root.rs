//! The root image: `init`, `sandboxd`, the system's own boxes as compiled plans, and the template of `/data`.
//!
//! What holds: no shell, no library, no interpreter, nothing setuid, no TOML: the device's privileged programs read
//! plans, which were checked here by the same `policy` that they decode them with.

use crate::binaries::Binaries;
use crate::chain::keys::Keys;
use crate::chain::uki;
use crate::paths::Tree;
use crate::stage;
use crate::stamp::{Stamp, sorted_entries};
use crate::verity::{self, Verified};
use crate::{erofs, template};
use anyhow::{Context, Result, bail};
use policy::Board;
use std::fs;
use std::path::{Path, PathBuf};

/// The box that has the TPM.
const ATTESTD: &str = "os.gabion.attest";
/// What release it is, for the programs of the root, by `os-release(5)`.
const OS_RELEASE: &str = "usr/lib/os-release";
/// Mount points of the device's own file systems.
const DIRECTORIES: [&str; 7] = ["dev", "proc", "sys", "run", "tmp", "data", "apps"];
const UUID: &str = "67616269-6f6e-4000-8000-726f6f740000";

/// A box that is part of the image: its manifest, and what is in its root.
#[derive(Clone, Debug)]
pub struct SystemBox {
    /// TOML, checked by `policy::check_system`.
    pub manifest: PathBuf,
    /// The static program, put where `exec` says; or a directory that is the root, that program in it.
    pub contents: PathBuf,
}

/// The system boxes whose manifests are in the folders; each one's program is the binary that has the name in its `exec`.
pub fn system_boxes(folders: &[PathBuf], binaries: &Binaries) -> Result<Vec<SystemBox>> {
    let mut boxes = Vec::new();
    let read =
        |folder: &PathBuf| sorted_entries(folder).with_context(|| format!("reading {}", folder.display()));
    let manifests = folders.iter().map(read).collect::<Result<Vec<_>>>()?;
    for manifest in manifests.into_iter().flatten() {
        if manifest.extension().is_some_and(|extension| extension == "toml") {
            let plan = compile(&manifest)?;
            let name =
                plan.argv.first().and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned();
            boxes.push(SystemBox { manifest, contents: binaries.path(&name) });
        }
    }
    Ok(boxes)
}

/// Makes the root image at `image`, or keeps it if it was made from the same contents before.
pub fn build(tree: &Tree, binaries: &Binaries, boxes: &[SystemBox], image: &Path) -> Result<Verified> {
    let init = binaries.path("init");
    let sandboxd = binaries.path("sandboxd");
    let key = Keys::of(tree)?.policy_key()?;
    let about = uki::os_release(&tree.release.version);
    let mut stamp =
        Stamp::new("root 6").path(&init)?.path(&sandboxd)?.text(String::from_utf8_lossy(&key)).text(&about);
    for system in boxes {
        // The plan, not its source: a change in `policy` alone can change it.
        stamp = stamp.text(format!("{:?}", compile(&system.manifest)?.encode())).path(&system.contents)?;
    }
    if let Some(layout) = &tree.layout.text {
        stamp = stamp.text(layout);
    }
    let words = image.with_extension("verity");
    if stamp.fits(image)
        && let Some(verified) =
            fs::read_to_string(&words).ok().and_then(|text| Verified::from_text(image, &text))
    {
        return Ok(verified);
    }
    crate::say("image", format_args!("assembling {}", image.display()));
    let staged = image.with_extension("staged");
    stage::fresh(&staged)?;
    stage::directories(&staged, &DIRECTORIES)?;
    stage::copy(&init, &staged.join("sbin/init"))?;
    stage::copy(&sandboxd, &staged.join("usr/bin/sandboxd"))?;
    for system in boxes {
        add_box(&staged.join("usr/share/gabion/system"), system)?;
    }
    stage::directories(&staged, &["usr/lib"])?;
    stage::write(&staged.join(OS_RELEASE), about)?;
    template::format(&staged.join("usr/share/gabion/data.ext4"))?;
    if let Some(layout) = &tree.layout.text {
        stage::write(&staged.join("usr/share/gabion/disk.layout"), layout)?;
    }
    stage::normalise(&staged)?;
    stage::share(&staged)?;
    erofs::format_small(&staged, UUID, image)?;
    let verified = verity::append(image, UUID)?;
    fs::write(&words, verified.to_text())?;
    stamp.keep(image)?;
    Ok(verified)
}

/// Adds a box below `system`, the root image's directory of them: its plan and its root.
pub fn add_box(system: &Path, member: &SystemBox) -> Result<()> {
    let plan = compile(&member.manifest)?;
    let root = system.join(plan.id.as_str());
    let program = plan.argv.first().map(|path| root.join(path.trim_start_matches('/'))).unwrap_or_default();
    stage::directories(&root, &stage::BOX_DIRECTORIES)?;
    if plan.id.as_str() == ATTESTD {
        // Which key signs the states in which the data opens: whoever could choose it could have the data sealed to his own.
        stage::write(&root.join("etc/pcr.pub"), Keys::of(&Tree::here()?)?.policy_key()?)?;
    }
    let whole = member.contents.is_dir();
    stage::copy(&member.contents, if whole { &root } else { &program })?;
    if !program.is_file() {
        bail!("{} names {}, which is not in its root", member.manifest.display(), program.display());
    }
    stage::write(&system.join(format!("{}.plan", plan.id.as_str())), plan.encode())
}

/// The plan of a system manifest; every problem, by file and line, if it has any.
fn compile(manifest: &Path) -> Result<policy::Plan> {
    let text = fs::read_to_string(manifest).with_context(|| format!("reading {}", manifest.display()))?;
    match policy::check_system(&text, &Board::default()) {
        Ok(checked) => Ok(policy::compile_system(&checked)),
        Err(problems) => {
            let list = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            bail!("{} cannot be compiled:\n{list}", manifest.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What a developer sees of the bus is all of it, and it is listed where it can be read.
    #[test]
    fn developer_port_names_every_method_that_anybody_may_be_granted() {
        let plan = compile(&Tree::here().unwrap().system_developer().join("devport.toml")).unwrap();
        let pairs = |(name, methods): &(String, Vec<String>)| -> Vec<(String, String)> {
            methods.iter().map(|method| (name.clone(), method.clone())).collect()
        };
        let named: BTreeSet<_> = plan.uses.iter().flat_map(pairs).collect();
        let known: BTreeSet<_> =
            policy::bus::methods().map(|(name, method, _)| (name.to_owned(), method.to_owned())).collect();
        assert_eq!(named, known);
        assert_eq!(plan.system.unwrap().capabilities, 0);
    }

    #[test]
    fn developer_port_is_in_no_production_image() {
        let tree = Tree::here().unwrap();
        for manifest in sorted_entries(&tree.system()).unwrap() {
            if manifest.extension().is_some_and(|extension| extension == "toml") {
                let text = fs::read_to_string(&manifest).unwrap();
                let has_port = text.lines().any(|line| line.trim_start().starts_with("developer ="));
                assert!(!has_port, "{}", manifest.display());
            }
        }
    }
}
