//! Dependency direction, the crates in PID 1, and a reason for every dependency, held against this tree.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use tree_test::documents::table_names;
use tree_test::graph::{self, Package};
use tree_test::{pid1, tree};

fn packages() -> Result<Vec<Package>> {
    graph::packages(&tree::cargo(&["metadata", "--no-deps", "--format-version", "1"])?)
}

#[test]
fn dependencies_point_one_way() -> Result<()> {
    let packages = packages()?;
    for place in ["sys", "policy", "init", "sandboxd"] {
        packages.iter().find(|p| p.place == place).with_context(|| format!("no crate in {place}"))?;
    }
    let wrong = graph::wrong_directions(&packages);
    assert!(wrong.is_empty(), "see ARCHITECTURE.md, Dependency direction:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn init_is_built_without_the_box_builder() -> Result<()> {
    let features = graph::builder_features_of_init(&packages()?);
    assert!(features.is_empty(), "init asks for {features:?} of sys");
    Ok(())
}

#[test]
fn init_has_at_most_six_external_crates() -> Result<()> {
    let external = pid1::external_crates()?;
    println!("external crates in PID 1: {} {external:?}", external.len());
    assert!(external.len() <= pid1::CRATES_MAX, "{external:?}");
    Ok(())
}

#[test]
fn every_direct_dependency_has_its_reason_and_no_default_features() -> Result<()> {
    let page = tree::read(&tree::root().join("docs/dependencies.md"))?;
    let reasons: BTreeSet<String> = table_names(&page).into_iter().collect();
    let mut wrong = BTreeSet::new();
    for table in page.split("\n## ") {
        let mut names = BTreeSet::new();
        let twice = table_names(table).into_iter().filter(|name| !names.insert(name.clone()));
        wrong.extend(twice.map(|name| format!("{name} has two lines in one table")));
    }
    let mut used = BTreeSet::new();
    for (name, place, default_features) in graph::direct_dependencies(&packages()?) {
        if !reasons.contains(&name) {
            wrong.insert(format!("{name} (used in {place}) has no line in docs/dependencies.md"));
        }
        if default_features {
            wrong.insert(format!("{place} takes {name} with its default features"));
        }
        used.insert(name);
    }
    wrong.extend(reasons.difference(&used).map(|name| format!("{name} has a line, but nothing uses it")));
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
    Ok(())
}
