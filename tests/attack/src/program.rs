//! C to programs: static, so that an app needs nothing but the one file.

use crate::corpus::Attack;
use anyhow::{Context, Result};
use image::command::{output, tool};
use image::paths::Tree;
use std::fs;
use std::path::PathBuf;

/// The app's files: where below its root, and what is in it.
pub type Files = Vec<(String, Vec<u8>)>;

/// Builds what the attack's app is made of.
///
/// # Errors
/// What the compiler says; a file that is not there.
pub fn build(tree: &Tree, attack: &Attack) -> Result<Files> {
    let static_ = ["-static".to_owned(), "-s".to_owned()];
    let mut files = vec![("bin/attack".to_owned(), compile(tree, attack, "attack.c", &static_)?)];
    for program in &attack.about.programs {
        files.push((program.path.clone(), compile(tree, attack, &program.source, &program.options)?));
    }
    for file in &attack.about.files {
        let content = fs::read(&file.host).with_context(|| format!("reading {}", file.host.display()))?;
        files.push((file.path.clone(), content));
    }
    Ok(files)
}

fn compile(tree: &Tree, attack: &Attack, source: &str, options: &[String]) -> Result<Vec<u8>> {
    let place = tree.target.join("attack");
    fs::create_dir_all(&place)?;
    let to: PathBuf = place.join(format!("{}-{source}.out", attack.about.number));
    output(
        tool("gcc")
            .args(["-O1", "-Wall", "-Wextra", "-Werror"])
            .args(options)
            .arg("-I")
            .arg(tree.root.join("tests/attack/include"))
            .arg(attack.folder.join(source))
            .arg("-o")
            .arg(&to),
    )?;
    fs::read(&to).with_context(|| format!("reading {}", to.display()))
}
