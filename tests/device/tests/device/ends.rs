//! Every way in which an app can end, told by name and recorded.

use device_test::{App, Bench};

#[test]
fn app_ended_in_any_way_is_recorded_with_its_reason() {
    let never = "restart = \"never\"\n";
    let failure = "restart = \"on-failure\"\n";
    let mut device = Bench::new("ends")
        .app(App::shell("org.test.code", "exit 3").lifecycle(never))
        .app(App::shell("org.test.done", "exit 0").lifecycle(failure))
        .app(App::shell("org.test.again", "sleep 1; exit 4").lifecycle(failure))
        .app(App::probe("org.test.fault", &["fault"]).lifecycle(never))
        .app(App::shell("org.test.killed", "sleep 1000").lifecycle(never))
        .app(App::shell("org.test.mounter", "exec mount -t tmpfs none /tmp").lifecycle(never))
        .app(App::shell("org.test.child", "mount -t tmpfs none /tmp; echo child said $?; sleep 1000"))
        .app(
            App::probe("org.test.silent", &["pet", "4"])
                .lifecycle("restart = \"always\"\nwatchdog = \"1s\"\nnotify = true\n"),
        )
        .app(
            App::shell("org.test.deaf", "trap '' TERM; while true; do sleep 1; done")
                .lifecycle("stop_timeout = \"1s\"\n"),
        )
        .app(App::shell("org.test.tidy", "trap 'echo tidying; exit 0' TERM; while true; do sleep 1; done"))
        .boot()
        .unwrap();

    device.wait_for("event exited id=org.test.code * reason=exit detail=\"code=3\" count=1 * next=stopped");
    device.wait_for("event exited id=org.test.done * reason=exit detail=\"code=0\" count=1 * next=stopped");
    device.wait_for("event exited id=org.test.again * reason=exit detail=\"code=4\" count=2 ");
    device
        .wait_for("event exited id=org.test.fault * reason=signal detail=\"signal=SIGSEGV\" * next=stopped");
    device.wait_for(
        "event exited id=org.test.mounter * reason=seccomp detail=\"syscall=mount\" * next=stopped",
    );
    device.wait_for("event denied id=org.test.child * call=mount killed=SIGSYS by=seccomp ");
    device.wait_for("[org.test.child] child said 159");
    device.wait_for("[org.test.silent] pet: silent from now: Ok");
    device.wait_for("event exited id=org.test.silent * reason=watchdog detail=\"silent_ms=1000\" count=1 ");
    device.wait_for("event started id=org.test.silent * starts=2");

    let pid = device.pid("org.test.killed");
    device.agent(&format!("kill {pid} SIGKILL"));
    device
        .wait_for("event exited id=org.test.killed * reason=signal detail=\"signal=SIGKILL\" * next=stopped");

    let record = device.agent("cat /data/logs/org.test.code/exits").join("\n");
    assert!(record.contains("\"count\":1,") && record.contains("\"detail\":\"code=3\""), "{record}");

    device.wait_for("gabion: ready");
    let off = device.power_button();
    assert!(!off.console().lines(0, "[org.test.tidy] tidying").is_empty(), "SIGTERM comes before SIGKILL");
    off.check_data().unwrap();
}
