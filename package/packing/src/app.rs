//! An app as the store has it, made of its source directory: `manifest.toml`, `app.list` and `files/`.

use crate::command::{tool, visibly};
use crate::recipe::Recipe;
use crate::stamp::Stamp;
use crate::{check, closure, debian, erofs, stage, verity};
use anyhow::{Context, Result, bail};
use policy::Board;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// UUID of the file system of every app's image: it must not vary between builds.
pub const UUID: &str = "67616269-6f6e-4000-8000-617070696d67";

/// Where what an app's recipe names comes from.
pub struct Sources<'a> {
    /// Debian packages are kept here.
    pub debian: &'a Path,
    /// Builds the program that a `cargo` line names, and says where it is.
    pub program: &'a dyn Fn(&str) -> Result<PathBuf>,
}

/// Packs the app of the directory `source` into the directory `app`, unless it is there already; as an image, if its recipe
/// says so.
///
/// # Errors
/// As those of [`root`], and [`root_to_image`].
pub fn pack(source: &Path, app: &Path, sources: &Sources<'_>) -> Result<()> {
    let recipe = root(source, app, sources)?;
    if recipe.image && app.join("root").exists() { root_to_image(app) } else { Ok(()) }
}

/// Makes the directory `app` with the manifest and the root of the app in `source`, unless it is there already.
///
/// # Errors
/// The manifest or `app.list` is wrong, which is said by line; something that it names is nowhere.
pub fn root(source: &Path, app: &Path, sources: &Sources<'_>) -> Result<Recipe> {
    let recipe = Recipe::parse(&fs::read_to_string(source.join("app.list"))?)?;
    let program = checked_program(&source.join("manifest.toml"))?;
    for command in &recipe.commands {
        visibly(tool("sh").current_dir(source).args(["-c", command])).map_err(|error| {
            let word = command.split(' ').next_back().unwrap_or_default();
            let help = format!("run it in {} until it goes well; what it said is above", source.display());
            recipe.fault(word, format!("a `build` line: {error:#}"), help)
        })?;
    }
    // What a build leaves behind besides does not matter: only what the recipe takes.
    let mut stamp = Stamp::new("pack 4");
    for part in ["manifest.toml", "app.list", "files"].map(|name| source.join(name)) {
        if part.exists() {
            stamp = stamp.text(part.to_string_lossy()).path(&part)?;
        }
    }
    for (from, _) in &recipe.files {
        if source.join(from).symlink_metadata().is_err() {
            let message = format!("{from} is not there, below {}", source.display());
            return Err(recipe
                .fault(from, message, "name a file that is, or have a `build` line make it")
                .into());
        }
        stamp = stamp.text(from).path(&source.join(from))?;
    }
    let mut programs = Vec::new();
    for (package, path) in &recipe.programs {
        let built = (sources.program)(package)?;
        stamp = stamp.path(&built)?;
        programs.push((built, path));
    }
    if stamp.fits(app) {
        return Ok(recipe);
    }
    crate::say("pack", format_args!("packing {}", app.file_name().unwrap_or_default().to_string_lossy()));
    stage::fresh(app)?;
    let root = app.join("root");
    stage::directories(&root, &stage::BOX_DIRECTORIES)?;
    for (built, path) in programs {
        stage::copy(&built, &inside(&root, path))?;
    }
    fill(sources.debian, source, &recipe, &root)?;
    if inside(&root, &program).symlink_metadata().is_err() {
        let help = "copy it from a package (`copy`), from the app's directory (`file`), or correct app.exec";
        let message = format!("app.exec names {program}, which nothing in app.list or files/ provides");
        return Err(recipe.fault(&program, message, help).into());
    }
    stage::normalise(&root)?;
    stage::copy(&source.join("manifest.toml"), &app.join("manifest.toml"))?;
    stamp.keep(app)?;
    Ok(recipe)
}

fn fill(cache: &Path, source: &Path, recipe: &Recipe, root: &Path) -> Result<()> {
    let packages = debian::extracted(cache, &recipe.packages)?;
    for (path, to) in &recipe.copies {
        if debian::find(&packages, path).is_none() {
            let message = format!("{path} is in none of: {}", recipe.packages.join(", "));
            let help =
                "`apt-file search` or packages.debian.org say which package has it: add that to `package`";
            return Err(recipe.fault(path, message, help).into());
        }
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
        removed.map_err(|error| {
            recipe.fault(path, format!("cannot omit {path}: {error}"), "name a path of what was copied above")
        })?;
    }
    for path in &recipe.directories {
        stage::directories(root, &[path.trim_start_matches('/')])?;
    }
    for (from, to) in &recipe.files {
        stage::copy(&source.join(from), &inside(root, to))?;
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

/// Leads an app with names to resolve to its name server, which `sandboxd` writes into its `/run`. What the app brings
/// itself stays.
///
/// # Errors
/// Those of the file system.
pub fn name_server_link(app: &Path) -> Result<()> {
    let (root, text) = (app.join("root"), fs::read_to_string(app.join("manifest.toml")).unwrap_or_default());
    let link = root.join("etc/resolv.conf");
    let resolves = policy::check(&text, &policy::Board::default()).is_ok_and(|manifest| manifest.resolves());
    if !resolves || !root.is_dir() || link.symlink_metadata().is_ok() {
        return Ok(());
    }
    stage::directories(&root, &["etc"])?;
    std::os::unix::fs::symlink("../run/resolv.conf", &link)
        .with_context(|| format!("linking {}", link.display()))
}

/// Turns the `root/` of the app directory `app` into `root.img` and `root.verity`.
///
/// # Errors
/// It has what no package may have; `mkfs.erofs` or `veritysetup` fails.
pub fn root_to_image(app: &Path) -> Result<()> {
    let (root, image) = (app.join("root"), app.join("root.img"));
    name_server_link(app)?;
    check::root(&root)?;
    erofs::format(&root, UUID, &image)?;
    let verified = verity::append(&image, UUID)?;
    check::image(&image, verified.data_blocks)?;
    fs::write(app.join("root.verity"), verified.to_text())?;
    fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n";

    #[test]
    fn app_with_names_is_led_to_its_name_server_and_one_without_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("root/etc/resolv.conf");
        fs::create_dir(directory.path().join("root")).unwrap();
        let write =
            |more: &str| fs::write(directory.path().join("manifest.toml"), format!("{GOOD}{more}")).unwrap();
        write("[network]\nconnect = [\"localhost:1/tcp\"]\n");
        name_server_link(directory.path()).unwrap();
        assert!(link.symlink_metadata().is_err());
        write("[network]\nconnect = [\"a.example:1/tcp\"]\n");
        name_server_link(directory.path()).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("../run/resolv.conf"));
        fs::remove_file(&link).unwrap();
        fs::write(&link, "nameserver 192.0.2.1\n").unwrap();
        name_server_link(directory.path()).unwrap();
        assert!(link.symlink_metadata().unwrap().is_file(), "what the app brings stays");
    }
}
