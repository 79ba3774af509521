//! An app's developer debugs it, by the gdb of his machine.

use crate::tool::{called, done, gabion, refused};
use device_test::{App, Device};
use image::command::{tool, visibly};
use std::fs;
use std::path::{Path, PathBuf};

const APP: &str = "org.test.counter";
/// What it is made of besides its program: nothing of the machine's debugger may depend on them.
const LIBRARIES: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"];

/// The app, with its symbols, as its developer has it.
fn counter(place: &Path) -> PathBuf {
    let program = place.join("counter");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/device/counter.c");
    visibly(tool("gcc").args(["-g", "-O0", "-o"]).arg(&program).arg(source)).unwrap();
    let manifest = format!(
        "[app]\nid = \"{APP}\"\nversion = \"1.0.0\"\nexec = [\"/bin/counter\"]\n\
         [resources]\nmemory = \"4MiB\"\ncpu = \"100%\"\ntasks = 1\nstorage = \"1MiB\"\n\
         [lifecycle]\nrestart = \"always\"\nwatchdog = \"5s\"\n"
    );
    let app = App::bare(APP, &manifest).file("bin/counter", fs::read(program).unwrap());
    let with = |app: App, path: &&str| app.file(path.trim_start_matches('/'), fs::read(path).unwrap());
    LIBRARIES.iter().fold(app, with).packed(place).unwrap()
}

/// On a developer's device, of which one port is free at least besides two.
pub(crate) fn app_is_debugged_and_goes_on(device: &Device, place: &Path) {
    let source = counter(place);
    refused(device, &["debug", APP], &["there is no app org.test.counter on the device"]);
    let none = gabion(device, &["debug", APP, "--gdb", "no-gdb"]);
    assert!(none.code == Some(6) && none.err.contains("apt-get install gdb gdbserver"), "{}", none.err);
    called(device, &["deploy", source.to_str().unwrap(), "--json", "--wait", "60"]);
    let pid = device.pid(APP);

    // A breakpoint, by the symbols of the app's directory; what is called by whom; on to the next, and the app is let go.
    let mark = device.console().mark();
    let words = [
        "-batch",
        "-ex",
        "break count",
        "-ex",
        "continue",
        "-ex",
        "backtrace",
        "-ex",
        "print *seen",
        "-ex",
        "continue",
    ];
    let words = [
        &["debug", APP, "--source", source.to_str().unwrap(), "--"][..],
        &words,
        &["-ex", "print *seen", "-ex", "detach"],
    ];
    let ran = gabion(device, &words.concat());
    println!("{}{}", ran.out, ran.err);
    assert_eq!(ran.code, Some(0));
    for said in [
        "Breakpoint 1, count (seen=",
        "#1 ",
        " in main () at ",
        "$1 = 0\n",
        "$2 = 1\n",
        "[Inferior 1 (process ",
    ] {
        assert!(ran.out.contains(said), "`{said}` is not in {}{}", ran.out, ran.err);
    }
    device.wait_after(mark, "event debugging id=org.test.counter server=org.gnu.gdbserver");
    // It runs as before, in a box of its own: nobody is its parent, and its watchdog is on.
    device.wait_after(mark, "event debugged id=org.test.counter");
    let again = device.console().mark();
    device.wait_after(again, &format!("[{APP}] counted 2"));
    assert_ne!(device.pid(APP), pid);

    // Its files on the device have symbols, too; and a gdb that is gone in the middle leaves it as it was.
    let words = [
        "debug",
        APP,
        "--source",
        "/",
        "--",
        "-batch",
        "-ex",
        "break count",
        "-ex",
        "continue",
        "-ex",
        "kill",
    ];
    let ran = gabion(device, &words);
    assert!(ran.out.contains("Breakpoint 1, count (seen="), "{}{}", ran.out, ran.err);
    let again = device.console().mark();
    device.wait_after(again, &format!("[{APP}] counted 2"));
    refused(device, &["debug", "os.gabion.apps"], &["is a part of the system"]);
    done(device, &["rm", APP]);
    done(device, &["rm", "org.gnu.gdbserver"]);
}
