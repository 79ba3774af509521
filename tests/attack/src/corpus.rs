//! The corpus: a folder for each attack, and a list of those that are shown elsewhere or cannot be tried yet.
//!
//! Read strictly: a key nobody knows, a try without an expectation, or a number that is in no place is an error, so that
//! no attack is left out silently.

use crate::{layers, verdict};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every attack there is, by family and how many.
const FAMILIES: [(char, u32); 5] = [('A', 9), ('B', 7), ('C', 13), ('D', 3), ('E', 6)];

/// One folder.
#[derive(Clone, Debug)]
pub struct Attack {
    /// Where it is.
    pub folder: PathBuf,
    /// Its manifest's text.
    pub manifest: String,
    /// The app's id in it.
    pub id: String,
    /// What `attack.toml` says.
    pub about: About,
}

/// `attack.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The number in the list of attacks.
    pub number: String,
    /// What is tried.
    pub what: String,
    /// Where it was published.
    pub source: String,
    /// Further programs.
    #[serde(default, rename = "program")]
    pub programs: Vec<Program>,
    /// Files of this machine that the app brings.
    #[serde(default, rename = "file")]
    pub files: Vec<HostFile>,
    /// The tries.
    #[serde(rename = "try")]
    pub tries: Vec<Try>,
}

/// A further program of the app, beside `bin/attack`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Where it goes, below the app's root.
    pub path: String,
    /// What it is made of, in the folder.
    pub source: String,
    /// Options for the compiler, in place of `-static`.
    pub options: Vec<String>,
}

/// A file of this machine that the app brings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFile {
    /// Where it goes, below the app's root.
    pub path: String,
    /// Where it is here.
    pub host: PathBuf,
}

/// One try.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Try {
    /// What the program calls it.
    pub name: String,
    /// Where it was published, if it has a place of its own.
    pub source: Option<String>,
    /// The layer that refuses it when all are there.
    pub layer: String,
    /// How the program's word about it begins.
    pub answer: String,
    /// What an event of the device about it contains.
    pub report: Option<String>,
    /// Why there is no event.
    pub unreported: Option<String>,
    /// The layers without which it works.
    #[serde(default)]
    pub control: BTreeSet<String>,
    /// Why it would not work without any of the layers either.
    pub uncontrolled: Option<String>,
    /// Why there is no second layer, where there is none.
    pub alone: Option<String>,
}

/// An attack that is in no folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elsewhere {
    /// The number in the list of attacks.
    pub number: String,
    /// What is tried.
    pub what: String,
    /// The test that shows it: a file of this tree and a test's name in it.
    pub test: Option<[String; 2]>,
    /// Why it cannot be tried yet, and with which part it can.
    pub pending: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ElsewhereFile {
    #[serde(rename = "attack")]
    attacks: Vec<Elsewhere>,
}

/// Every attack that has a folder in `corpus`, in the order of their numbers.
///
/// # Errors
/// What is wrong with one, and where.
pub fn read(corpus: &Path) -> Result<Vec<Attack>> {
    let mut attacks = Vec::new();
    for entry in fs::read_dir(corpus).with_context(|| format!("reading {}", corpus.display()))? {
        let folder = entry?.path();
        if folder.is_dir() {
            attacks.push(read_one(&folder).with_context(|| folder.display().to_string())?);
        }
    }
    attacks.sort_by_key(|attack| place(&attack.about.number));
    Ok(attacks)
}

fn read_one(folder: &Path) -> Result<Attack> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).with_context(|| format!("reading {name}"));
    let about: About = toml::from_str(&text("attack.toml")?).context("attack.toml")?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    ensure!(name.starts_with(&format!("{}-", about.number)), "the folder is not named by its number");
    ensure!(place(&about.number).is_some(), "{} is no number of the list", about.number);
    let manifest = text("manifest.toml")?;
    let id = match policy::check(&manifest, &policy::Board::default()) {
        Ok(checked) => policy::compile(&checked).id.as_str().to_owned(),
        Err(problems) => {
            bail!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    };
    ensure!(!about.tries.is_empty(), "it tries nothing");
    for one in &about.tries {
        check_try(one).with_context(|| format!("try {}", one.name))?;
    }
    let names: BTreeSet<&str> = about.tries.iter().map(|one| one.name.as_str()).collect();
    ensure!(names.len() == about.tries.len(), "two tries have one name");
    Ok(Attack { folder: folder.to_owned(), manifest, id, about })
}

fn check_try(one: &Try) -> Result<()> {
    ensure!(layers::is_known(&one.layer), "{} is no layer", one.layer);
    let unknown: Vec<_> = one.control.iter().filter(|layer| !layers::is_layer(layer)).collect();
    ensure!(unknown.is_empty(), "no layers that could be left out: {unknown:?}");
    ensure!(
        one.control.is_empty() == one.uncontrolled.is_some(),
        "it needs `control` or `uncontrolled`, and one of them"
    );
    ensure!(verdict::stopped(&one.answer), "its answer is neither `refused` nor `killed`");
    ensure!(
        one.report.is_some() != one.unreported.is_some(),
        "it needs `report` or `unreported`, and one of them"
    );
    Ok(())
}

/// Those that have none, or not for all of it, from `pending.toml`.
///
/// # Errors
/// What is wrong with the file, or a test it names that is not there.
pub fn read_elsewhere(corpus: &Path, tree: &Path) -> Result<Vec<Elsewhere>> {
    let file = corpus.join("pending.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let all: ElsewhereFile = toml::from_str(&text).with_context(|| file.display().to_string())?;
    for attack in &all.attacks {
        let number = &attack.number;
        ensure!(
            attack.test.is_some() != attack.pending.is_some(),
            "{number} needs `test` or `pending`, and one of them"
        );
        if let Some([source, name]) = &attack.test {
            let text =
                fs::read_to_string(tree.join(source)).with_context(|| format!("{number}: {source}"))?;
            ensure!(text.contains(&format!("fn {name}(")), "{number}: no test {name} in {source}");
        }
    }
    Ok(all.attacks)
}

/// Numbers of the list that are in neither, and numbers that are in the second but in no list.
pub fn unaccounted(attacks: &[Attack], elsewhere: &[Elsewhere]) -> Vec<String> {
    let mut known: BTreeSet<&str> = attacks.iter().map(|attack| attack.about.number.as_str()).collect();
    known.extend(elsewhere.iter().map(|attack| attack.number.as_str()));
    let all = FAMILIES.iter().flat_map(|(family, count)| (1..=*count).map(move |n| format!("{family}{n}")));
    let all: BTreeSet<String> = all.collect();
    let missing = all.iter().filter(|number| !known.contains(number.as_str())).cloned();
    let strange = known.iter().filter(|number| !all.contains(**number)).map(|number| (*number).to_owned());
    missing.chain(strange).collect()
}

/// Where a number stands in the list.
pub fn place(number: &str) -> Option<(char, u32)> {
    let family = number.chars().next()?;
    let count = number.get(1..)?.parse().ok()?;
    FAMILIES
        .iter()
        .any(|(known, most)| *known == family && (1..=*most).contains(&count))
        .then_some((family, count))
}
