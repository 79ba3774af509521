//! `app.list` with one line wrong.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::gabion;

/// A good list: line 4 is the last.
const GOOD: &str = "# an app\nbuild true\nfile main /bin/main\ndirectory /data\n";
const MANIFEST: &str = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/main\"]\n";

fn app(list: &str, more: impl FnOnce(&Path)) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("manifest.toml"), MANIFEST).unwrap();
    fs::write(place.path().join("app.list"), list).unwrap();
    fs::write(place.path().join("main"), "text\n").unwrap();
    more(place.path());
    place
}

#[test]
fn recipe_with_one_line_wrong_is_told_by_its_line_with_the_remedy() {
    let good = app(GOOD, |_| ());
    let said = gabion(good.path(), "good", &["build"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let lines = [
        "bild true",
        "build",
        "build false",
        "file main",
        "file main bin/main",
        "file /etc/passwd /x",
        "file ../main /x",
        "file none /x",
        "copy",
        "copy x",
        "copy /a /b /c",
        "copy /a/../b",
        "copy /nowhere",
        "package",
        "package -o",
        "package A B",
        "omit",
        "omit x",
        "omit /nowhere",
        "directory",
        "directory x",
        "link /x",
        "link x y",
        "cargo x",
        "store",
        "store disk",
        "colour blue",
    ];
    for line in lines {
        let place = app(&format!("{GOOD}{line}\n"), |_| ());
        gabion(place.path(), line, &["build"]).is_told("--> app.list:5:");
    }
    let place = app("directory /data\n", |_| ());
    gabion(place.path(), "no program", &["build"]).is_told("--> app.list:1:");
}

#[test]
fn root_with_what_no_package_may_have_is_told_by_its_path() {
    let mode = |at: &Path, mode| fs::set_permissions(at, fs::Permissions::from_mode(mode)).unwrap();
    let in_files = |place: &Path| {
        fs::create_dir_all(place.join("files/bin")).unwrap();
        fs::write(place.join("files/bin/it"), "text\n").unwrap();
        place.join("files/bin/it")
    };
    type Make<'a> = (&'static str, &'a dyn Fn(&Path));
    let makes: [Make<'_>; 4] = [
        ("setuid", &|place| mode(&in_files(place), 0o4755)),
        ("fifo", &|place| {
            fs::remove_file(in_files(place)).unwrap();
            nix::unistd::mkfifo(&place.join("files/bin/it"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("socket", &|place| {
            fs::remove_file(in_files(place)).unwrap();
            drop(std::os::unix::net::UnixListener::bind(place.join("files/bin/it")).unwrap());
        }),
        ("a link that leads out", &|place| {
            fs::remove_file(in_files(place)).unwrap();
            symlink("x".repeat(4000), place.join("files/bin/it")).unwrap();
        }),
    ];
    for (what, make) in makes {
        let place = app(GOOD, make);
        let said = gabion(place.path(), what, &["build"]);
        if what.starts_with("a link") {
            assert!(matches!(said.code, Some(0 | 1)), "{}", said.err);
        } else {
            said.is_told("bin/it");
        }
    }
}
