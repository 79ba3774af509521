//! Images as `mkfs.erofs` makes them, with what our image tool calls it with.

#![expect(clippy::unwrap_used, reason = "tests")]

mod made;

use made::{image, refusal, verdict};
use package::erofs::Refusal;
use package::tree::Wrong;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn image_of_everything_a_package_may_have_is_good() {
    let (image, tree) = made::rich();
    let contents = verdict(&image).unwrap();
    let count = |at: &std::path::Path| fs::read_dir(at).unwrap().count();
    let below = |name| count(&tree.path().join(name));
    assert_eq!(contents.entries as usize, count(tree.path()) + below("bin") + below("many"));
}

#[test]
fn image_of_extended_inodes_or_a_full_index_is_good() {
    for option in ["-Eforce-inode-extended", "-Elegacy-compress", "-Enosbcrc"] {
        let (_, tree) = made::rich();
        let result = verdict(&made::format(tree.path(), &["-zlz4hc,12", "-x-1", option]));
        assert_eq!(result.is_ok(), option != "-Enosbcrc", "{option}: {result:?}");
    }
}

#[test]
fn image_with_another_feature_is_refused_by_name() {
    let (_, tree) = made::rich();
    for options in [&["-zlz4hc,12", "-C65536"][..], &["--chunksize=4096"], &["-x2"]] {
        if options == ["-x2"] {
            xattr_on(&tree.path().join("bin/plain"));
        }
        let refusal = verdict(&made::format(tree.path(), options)).unwrap_err();
        assert!(matches!(refusal, Refusal::Layout(_, _)), "{options:?}: {refusal}");
    }
}

fn xattr_on(path: &std::path::Path) {
    xattr::set(path, "user.a", b"b").unwrap();
}

#[test]
fn inode_that_is_no_file_is_refused_at_install() {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let node = |kind, device| {
        refusal(move |root| mknod(&root.join("it"), kind, Mode::from_bits_truncate(0o666), device).unwrap())
    };
    assert_eq!(node(SFlag::S_IFCHR, makedev(1, 3)), Wrong::Kind("device node"));
    assert_eq!(node(SFlag::S_IFBLK, makedev(254, 0)), Wrong::Kind("device node"));
    assert_eq!(node(SFlag::S_IFIFO, 0), Wrong::Kind("FIFO"));
    assert_eq!(node(SFlag::S_IFSOCK, 0), Wrong::Kind("socket"));
    let mode = |bits| {
        refusal(move |root| {
            fs::write(root.join("it"), "x").unwrap();
            let bits = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(bits);
            fs::set_permissions(root.join("it"), bits).unwrap();
        })
    };
    assert_eq!([mode(0o4755), mode(0o2755), mode(0o1644)], [Wrong::Mode; 3]);
}

#[test]
fn program_that_is_not_fit_is_refused_at_install() {
    let copied = refusal(|root| assert!(fs::copy("/bin/ls", root.join("it")).unwrap() > 0));
    assert_eq!(copied, Wrong::NoLoader);
    let stack = refusal(|root| {
        let source = root.join("it.c");
        fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        let gcc = std::process::Command::new("gcc")
            .args(["-static", "-Wl,-z,execstack", "-o"])
            .arg(root.join("it"))
            .arg(&source)
            .stderr(std::process::Stdio::null())
            .status();
        assert!(gcc.unwrap().success());
    });
    assert_eq!(stack, Wrong::Program(package::elf::Fault::ExecutableStack));
}

#[test]
fn loader_is_found_through_links_and_not_outside() {
    let found = |lib: &str| {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("usr/lib64")).unwrap();
        fs::copy("/bin/ls", tree.path().join("ls")).unwrap();
        let loader = fs::canonicalize("/lib64/ld-linux-x86-64.so.2").unwrap();
        fs::copy(loader, tree.path().join("usr/lib64/ld-linux-x86-64.so.2")).unwrap();
        symlink(lib, tree.path().join("lib64")).unwrap();
        verdict(&image(tree.path())).is_ok()
    };
    assert!(found("usr/lib64"));
    assert!(found("/usr/../../usr/lib64"));
    assert!(!found("lib64"));
    assert!(!found("/nowhere"));
}

#[test]
fn image_cut_anywhere_is_refused() {
    let (image, _tree) = made::rich();
    for end in (0..image.len()).step_by(509).chain([image.len() - 1]) {
        assert!(verdict(&image[..end]).is_err(), "{end}");
    }
}
