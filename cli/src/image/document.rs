//! A release's document, of the files that a build made.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use policy::Board;
use service_api::release::{Image, Release, Role, What};
use service_api::{Few, Name, Text, Version};
use tuf::custom::{Custom, Kind};

use super::kernel;
use super::payload::{self, Olds};

/// What is said of a release besides its images: floor, notes, and how many patches it has.
type Said = (u32, Text<1024>, usize);

/// A document, and what signed metadata says of it.
pub(super) struct Made {
    pub(super) target: String,
    pub(super) file: PathBuf,
    pub(super) custom: Custom,
}

/// Of a packed app.
pub(super) fn of_app(folder: &Path, catalog: &Name, app: &Path, said: Said) -> Result<Made> {
    let manifest = app.join("manifest.toml");
    let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    let checked = policy::check(&text, &Board::default()).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", problems.join("\n"))
    })?;
    let (id, version) = (checked.id().to_string(), checked.version().to_string());
    let numbers = "a release's version is numbers with dots, by which devices know the newer one";
    let version: Version =
        version.parse().with_context(|| format!("{}: {version}: {numbers}", manifest.display()))?;
    let below = format!("apps/{catalog}/{id}");
    let olds = Olds::of(folder, &below, said.2)?;
    let image = image(folder, Role::App, &app.join("root.img"), Some(&app.join("root.verity")), &olds)?;
    let release = Release {
        what: What::App(Text::try_from(id.clone())?),
        version,
        floor: said.0,
        images: Few::new(vec![image]).unwrap_or_default(),
        manifest: Some(payload::keep(folder, text.as_bytes())?),
        notes: said.1,
    };
    written(folder, &below, &release, Kind::App, Some(id))
}

/// Of a product's system.
pub(super) fn of_system(
    folder: &Path,
    (product, version): (&Name, &Version),
    (root, kernel_image): (&Path, &Path),
    said: Said,
) -> Result<Made> {
    let below = format!("os/{product}");
    let olds = Olds::of(folder, &below, said.2)?;
    let words = beside(root, "verity");
    let tree = fs::read_to_string(&words).with_context(|| words.display().to_string())?;
    kernel::check(kernel_image, &version.to_string(), said.0, tree.trim_end())?;
    let images = vec![
        image(folder, Role::Root, root, Some(&words), &olds)?,
        image(folder, Role::Kernel, kernel_image, None, &olds)?,
    ];
    let release = Release {
        what: What::Os(product.clone()),
        version: version.clone(),
        floor: said.0,
        images: Few::new(images).unwrap_or_default(),
        manifest: None,
        notes: said.1,
    };
    written(folder, &below, &release, Kind::Os, None)
}

/// The file beside another with another ending; a version has dots of its own, which are no ending.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    path.with_file_name(format!("{stem}.{ending}"))
}

fn image(folder: &Path, role: Role, path: &Path, words: Option<&Path>, olds: &Olds) -> Result<Image> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let verity = words.map(|words| verity(words, bytes.len())).transpose()?;
    let offers = payload::offers(folder, role, &bytes, olds)?;
    Ok(Image { role, content: payload::keep_image(folder, &bytes)?, verity, offers })
}

/// The words of the hash tree, of which the data must be within the image.
fn verity(path: &Path, length: usize) -> Result<Text<320>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let words = text.trim_end_matches('\n');
    let blocks = words.split(' ').find_map(|word| word.strip_prefix("data_blocks=")?.parse::<usize>().ok());
    let within = blocks.is_some_and(|blocks| blocks.saturating_mul(4096) < length);
    ensure!(within, "{} is of another image", path.display());
    Ok(Text::try_from(words.to_owned())?)
}

fn written(folder: &Path, below: &str, release: &Release, kind: Kind, app: Option<String>) -> Result<Made> {
    let target = format!("{below}/{}.json", release.version);
    let text = serde_json::to_vec_pretty(release)?;
    // As devices will.
    ensure!(Release::read(&text, &target)? == *release, "the document is read as another one");
    let file = folder.join("release.json");
    fs::write(&file, text).with_context(|| file.display().to_string())?;
    let product = match &release.what {
        What::Os(product) => Some(product.to_string()),
        What::App(_) => None,
    };
    let custom = Custom {
        kind,
        product,
        app,
        version: release.version.to_string(),
        floor: Some(release.floor.into()),
        root_hash: None,
        reference: None,
        blocks: None,
        from: None,
        rest: Default::default(),
    };
    Ok(Made { target, file, custom })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ending_is_the_last_one_of_a_name_with_a_version() {
        let kernel = Path::new("out/system-1.2.0.efi");
        assert_eq!(beside(kernel, "reference.json"), Path::new("out/system-1.2.0.reference.json"));
        assert_eq!(beside(Path::new("root-9.1.0.img"), "verity"), Path::new("root-9.1.0.verity"));
    }

    #[test]
    fn words_of_a_hash_tree_fit_their_image() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.verity");
        fs::write(&path, "data_blocks=2 hash_start_block=3 root_hash=0a salt=0b\n").unwrap();
        assert!(!verity(&path, 4 * 4096).unwrap().as_str().contains('\n'));
        assert!(verity(&path, 2 * 4096).is_err());
        fs::write(&path, "nothing").unwrap();
        assert!(verity(&path, 4 * 4096).is_err());
    }
}
