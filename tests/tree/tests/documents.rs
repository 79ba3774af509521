//! The documents of this tree: a README for each folder, links that lead somewhere, examples that are valid.

use anyhow::Result;
use tree_test::{documents, tree};

#[test]
fn every_top_folder_has_a_readme() -> Result<()> {
    let folders = tree::top_folders()?;
    let without = folders.iter().filter(|folder| !folder.join("README.md").is_file());
    let without: Vec<String> = without.map(|folder| tree::shown(folder)).collect();
    assert!(without.is_empty(), "no README.md in {without:?}");
    Ok(())
}

#[test]
fn every_link_to_a_file_leads_to_one() -> Result<()> {
    let mut wrong = Vec::new();
    for page in tree::files("md")? {
        let folder = page.parent().unwrap_or(&page);
        let links = documents::links(&tree::read(&page)?);
        let dead = links.iter().filter(|link| !folder.join(link).exists());
        wrong.extend(dead.map(|link| format!("{}: {link}", tree::shown(&page))));
    }
    assert!(wrong.is_empty(), "dead links\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_decision_is_in_the_index() -> Result<()> {
    let index = tree::read(&tree::root().join("docs/README.md"))?;
    let decisions =
        tree::files("md")?.into_iter().filter(|path| tree::shown(path).starts_with("docs/decisions/"));
    for path in decisions {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(index.contains(&format!("(decisions/{name})")), "{name} is not in docs/README.md");
    }
    Ok(())
}

#[test]
fn manifests_in_the_readme_are_accepted() -> Result<()> {
    let blocks = documents::blocks(&tree::read(&tree::root().join("README.md"))?, "toml");
    assert!(!blocks.is_empty(), "no manifest in README.md");
    for block in blocks {
        if let Err(problems) = policy::check(&block, &policy::Board::default()) {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{}\n{block}", problems.join("\n"));
        }
    }
    Ok(())
}
