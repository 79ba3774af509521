//! The build in which boxes can lack layers is for tests: no release can be made of it, and nothing that ships has it.

use image::binaries;
use image::command::cargo;
use image::paths::Tree;
use std::fs;

/// Of `sys::weak::MARK`, which this build does not have.
const MARK: &[u8] = b"gabion weak build";

#[test]
fn weak_build_as_a_release_does_not_compile() {
    let tree = Tree::here().unwrap();
    for package in ["gabion-sys", "gabion-init", "gabion-sandboxd"] {
        let check = cargo()
            .current_dir(&tree.root)
            .args(["check", "--quiet", "--release", "--features", "weak", "-p", package])
            .env("CARGO_TARGET_DIR", &tree.target)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&check.stderr);
        assert!(
            !check.status.success() && said.contains("is for tests: build it with --profile weak"),
            "{said}"
        );
    }
}

#[test]
fn programs_that_ship_have_no_mark_of_the_weak_build() {
    let tree = Tree::here().unwrap();
    let has_mark = |built: &binaries::Binaries, name: &str| {
        fs::read(built.path(name)).unwrap().windows(MARK.len()).any(|bytes| bytes == MARK)
    };
    let (weak, shipped) = (binaries::weak(&tree).unwrap(), binaries::developer(&tree).unwrap());
    for name in ["init", "sandboxd"] {
        assert!(has_mark(&weak, name), "{name} of the weak build");
        assert!(!has_mark(&shipped, name), "{name}, as it ships");
    }
    for name in ["appsd", "busd", "devport", "manifest-worker"] {
        assert!(!has_mark(&shipped, name), "{name}");
    }
}
