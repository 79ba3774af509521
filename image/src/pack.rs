//! Packing an app: a source directory with `manifest.toml`, `app.list` and `files/` becomes an app as the store has it.

use crate::paths::Tree;
use crate::recipe::Recipe;
use crate::stamp::{Stamp, sorted_entries};
use crate::{binaries, check, closure, debian, stage, store};
use anyhow::{Context, Result, bail};
use policy::Board;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The demo's apps, packed: one directory each, called as the app.
pub fn demo(tree: &Tree) -> Result<Vec<PathBuf>> {
    let mut apps = Vec::new();
    for source in sorted_entries(&tree.demo()).context("reading image/demo")? {
        if source.join("app.list").exists() {
            let name = source.file_name().context("an app's directory has a name")?;
            let app = tree.out().join("demo").join(name);
            pack(tree, &source, &app).with_context(|| format!("packing {}", source.display()))?;
            apps.push(app);
        }
    }
    Ok(apps)
}

/// Packs the app of the directory `source` into the directory `app`, unless it is there already.
pub fn pack(tree: &Tree, source: &Path, app: &Path) -> Result<()> {
    let recipe = Recipe::parse(&fs::read_to_string(source.join("app.list"))?)?;
    let program = checked_program(&source.join("manifest.toml"))?;
    let mut stamp = Stamp::new("pack 3").path(source)?;
    let mut programs = Vec::new();
    for (package, path) in &recipe.programs {
        let built = binaries::build(tree, &[&[package.as_str()]])?.path(package);
        stamp = stamp.path(&built)?;
        programs.push((built, path));
    }
    if stamp.fits(app) {
        return Ok(());
    }
    crate::say("demo", format_args!("packing {}", app.file_name().unwrap_or_default().to_string_lossy()));
    stage::fresh(app)?;
    let root = app.join("root");
    stage::directories(&root, &stage::BOX_DIRECTORIES)?;
    for (built, path) in programs {
        stage::copy(&built, &inside(&root, path))?;
    }
    fill(tree, source, &recipe, &root)?;
    if inside(&root, &program).symlink_metadata().is_err() {
        bail!("app.exec names {program}, which nothing in app.list or files/ provides");
    }
    stage::normalise(&root)?;
    stage::copy(&source.join("manifest.toml"), &app.join("manifest.toml"))?;
    if recipe.image {
        store::root_to_image(app)?;
    }
    stamp.keep(app)
}

fn fill(tree: &Tree, source: &Path, recipe: &Recipe, root: &Path) -> Result<()> {
    let packages = debian::extracted(tree, &recipe.packages)?;
    for (path, to) in &recipe.copies {
        debian::find(&packages, path)
            .with_context(|| format!("{path} is in none of: {}", recipe.packages.join(", ")))?;
        // A directory may be spread over several packages, as python's library is.
        for package in &packages {
            if let Some(found) = debian::find(std::slice::from_ref(package), path) {
                stage::copy(&found, &inside(root, to))?;
            }
        }
    }
    for path in &recipe.omitted {
        let at = inside(root, path);
        let removed = if at.is_dir() { fs::remove_dir_all(&at) } else { fs::remove_file(&at) };
        removed.with_context(|| format!("omitting {path}"))?;
    }
    for (path, target) in &recipe.links {
        let link = inside(root, path);
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent)?;
        }
        symlink(target, &link).with_context(|| format!("linking {path}"))?;
    }
    let own = source.join("files");
    if own.exists() {
        stage::copy(&own, root)?;
    }
    closure::complete(root, &packages)?;
    check::root(root)
}

/// The path of the app's program; every problem of its manifest instead, if it has any.
fn checked_program(manifest: &Path) -> Result<String> {
    let text = fs::read_to_string(manifest).with_context(|| format!("reading {}", manifest.display()))?;
    match policy::check(&text, &Board::default()) {
        Ok(checked) => {
            policy::compile(&checked).argv.into_iter().next().context("a checked manifest has a program")
        }
        Err(problems) => {
            bail!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    }
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}
