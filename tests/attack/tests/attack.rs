//! The corpus on devices, and the page that says what came out.

use attack_test::{corpus, page, scene, verdict};
use image::paths::Tree;
use std::fs;

const PAGE: &str = "docs/defence-in-depth.md";

#[test]
fn every_attack_of_the_list_is_tried_or_accounted_for() {
    let tree = Tree::here().unwrap();
    let folder = tree.root.join("tests/attack/corpus");
    let elsewhere = corpus::read_elsewhere(&folder, &tree.root).unwrap();
    let missing = corpus::unaccounted(&corpus::read(&folder).unwrap(), &elsewhere);
    assert!(
        missing.is_empty(),
        "neither in a folder of tests/attack/corpus nor in pending.toml: {missing:?}"
    );
}

/// `GABION_WRITE=1` writes the page anew.
#[test]
fn attacks_are_refused_with_every_layer_and_without_each_as_the_page_says() {
    let tree = Tree::here().unwrap();
    let folder = tree.root.join("tests/attack/corpus");
    let attacks = corpus::read(&folder).unwrap();
    let elsewhere = corpus::read_elsewhere(&folder, &tree.root).unwrap();
    let seen = scene::run(&tree, &attacks).unwrap();
    let problems = verdict::problems(&attacks, &seen);
    let (at, text) = (tree.root.join(PAGE), page::write(&attacks, &elsewhere, &seen));
    if std::env::var_os("GABION_WRITE").is_some() {
        fs::write(&at, &text).unwrap();
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let command = "GABION_WRITE=1 cargo test -p gabion-attack-test";
    let kept = fs::read_to_string(&at).unwrap_or_default();
    if let Some((kept, now)) = kept.lines().zip(text.lines()).find(|(kept, now)| kept != now) {
        panic!("{PAGE} says\n{kept}\nbut this was seen:\n{now}\nTo write it anew: {command}");
    }
    assert_eq!(
        kept.lines().count(),
        text.lines().count(),
        "{PAGE} is not what was seen; to write it: {command}"
    );
}
