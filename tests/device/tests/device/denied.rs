//! What a box is refused is an event that names the layer, whichever it is, and what the manifest would have to say.

use crate::heart;
use device_test::{App, Bench, PATIENCE, word};

#[test]
fn refused_calls_are_events_with_the_layer_that_refused_them() {
    let once = "restart = \"never\"\n";
    let storage = "memory = \"8MiB\"\ncpu = \"50%\"\ntasks = 8\nstorage = \"4MiB\"\n";
    // Again and again: of what the kernel records beside a loop, it may lose some.
    let writer = "cat /bin/busybox > /data/b; chmod 755 /data/b; while true; do echo x > /bin/x; /data/b true; \
        echo x > /data/\"$(printf 'a\\033\"b')\"/c; dd if=/dev/zero of=/data/big bs=64k count=200; mount; sleep 5; done";
    let loops = "exec 2>/dev/null; while true; do echo x > /bin/x; done";
    let device = Bench::new("denied")
        .app(heart())
        .app(App::shell("org.test.writer", writer).resources(storage).lifecycle(once))
        .app(App::shell("org.test.bomb", "while true; do sleep 1000 & done"))
        .app(
            App::probe("org.test.caller", &["call", "127.0.0.1:8080"])
                .tables("[network]\nlisten = [\"1/tcp\"]\n"),
        )
        .app(App::shell("org.test.looper", loops))
        .boot()
        .unwrap();
    let denied =
        |id: &str, what: &str| device.wait_for(&format!("event denied id=org.test.{id} pid=* call={what}"));
    denied("writer", "openat errno=EROFS by=mounts path=\"/bin/\" count=1");
    denied("writer", "execve errno=EACCES by=mounts path=\"/data/b\" ");
    denied("writer", "write errno=EDQUOT by=quota allow=\"resources.storage\" ");
    denied("bomb", "*errno=EAGAIN by=cgroup allow=\"resources.tasks\" ");
    denied("caller", "connect errno=EACCES by=landlock address=127.0.0.1:8080 allow=\"network.connect = ");
    // A box that does it in a loop is told of and then silenced; another's refusal is told all the same.
    let silenced = device.wait_for("event denied-silenced id=org.test.looper ");
    assert_eq!(word(&silenced, "ms"), Some("10000:"));
    let mark = device.console().mark();
    device.wait_count(mark, "[org.test.heart] beat", 3, PATIENCE);
    device.wait_after(mark, "event denied id=org.test.looper * call=openat errno=EROFS by=mounts ");
    device.power_button().check_data().unwrap();
}
