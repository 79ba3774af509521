"""Talks to every interface that its box was granted, with python-varlink as it is. One line for each check.

`foreign: INTERFACE CHECK ok`, or `FAILED` with why; `foreign: done` at the end. The first word of the command line
says which box this is: `app`, or `system`, which ends by asking for a restart of the device.
"""

import contextlib
import sys
import threading
import time
import traceback

import varlink

SERVICE = "org.varlink.service"
HEART = "org.test.heart"
FAULTY = "org.test.faulty"
APP = "org.test.foreign"
SELF = "os.gabion.testagent"


class Interface:
    """One interface of the bus, by a client of its own."""

    def __init__(self, name):
        self.name = name
        self.client = varlink.Client("unix:/run/bus/" + name)

    def open(self):
        return self.client.open(self.name)

    def call(self, method, /, **parameters):
        with self.open() as connection:
            return getattr(connection, method)(**parameters)

    @contextlib.contextmanager
    def stream(self, method, /, **parameters):
        with self.open() as connection:
            yield getattr(connection, method)(_more=True, **parameters)

    def misread(self, signature):
        """The same, for who believes that it has this method: the library sends no other."""
        other = Interface(self.name)
        other.client.add_interface(varlink.Interface(f"interface {self.name}\nmethod {signature} -> ()"))
        return other

    def error(self, method, /, **parameters):
        """The error that a call gives: its name, and its parameters."""
        try:
            reply = self.call(method, **parameters)
        except varlink.VarlinkError as error:
            return error.error(), error.parameters()
        raise AssertionError(f"{method}{parameters} was answered by {reply}")

    def invalid(self, parameter, method, /, **parameters):
        same(self.error(method, **parameters), (f"{SERVICE}.InvalidParameter", {"parameter": parameter}))

    def expects_more(self, method, /, **parameters):
        name, _ = self.error(method, **parameters)
        same(name, f"{SERVICE}.ExpectedMore")


def same(found, expected):
    if found != expected:
        raise AssertionError(f"{found!r} is not {expected!r}")


def check(interface, what, act):
    try:
        said = act()
        print(f"foreign: {interface} {what} ok {said or ''}".rstrip(), flush=True)
    except Exception:
        why = traceback.format_exc(limit=-3).strip().replace("\n", " | ")
        print(f"foreign: FAILED {interface} {what}: {why}", flush=True)


# What every connection answers.


def information(interface):
    same(interface.client.get_interfaces(), [SERVICE, interface.name])
    return interface.client.info["product"]


def description(interface):
    interface.client.get_interface(SERVICE)
    read = interface.client.get_interface(interface.name)
    methods = [name for name, member in read.members.items() if type(member).__name__ == "_Method"]
    return f"bytes={len(read.get_description().encode())} methods={','.join(methods)}"


def not_found(interface):
    try:
        interface.client.get_interface("os.gabion.Nothing")
    except varlink.InterfaceNotFound as error:
        same(error.parameters(), {"interface": "os.gabion.Nothing"})
    else:
        raise AssertionError("an interface that is none was described")
    there = {"method": f"{interface.name}.Nothing"}
    same(interface.misread("Nothing()").error("Nothing"), (f"{SERVICE}.MethodNotFound", there))


def introspection(interface):
    check(interface.name, "GetInfo", lambda: information(interface))
    check(interface.name, "GetInterfaceDescription", lambda: description(interface))
    check(interface.name, "NotFound", lambda: not_found(interface))


# Interfaces that any app may use.


def device(interface):
    about = interface.call("GetInfo")
    same((about["os"], about["mode"], len(about["boot_id"])), ("Gabion", "normal", 32))
    return about["kernel"]


def device_or_time_invalid(interface, method):
    interface.misread(f"{method}(unheard: int)").invalid("unheard", method, unheard=1)


def clock(interface):
    with interface.open() as connection:
        same(connection.GetStatus(_oneway=True), None)
        first, second = connection.GetStatus(), connection.GetStatus()
    same(first["monotonic_us"] < second["monotonic_us"], True)
    return first["source"]


def power_invalid(interface):
    interface.invalid("reason", "Reboot", reason="x" * 121)
    interface.invalid("reason", "Reboot")
    interface.misread("Reboot(reason: int)").invalid("reason", "Reboot", reason=7)


def anybody():
    interface = Interface("os.gabion.Device")
    introspection(interface)
    check(interface.name, "GetInfo-called", lambda: device(interface))
    check(interface.name, "InvalidParameter", lambda: device_or_time_invalid(interface, "GetInfo"))
    interface = Interface("os.gabion.Time")
    introspection(interface)
    check(interface.name, "GetStatus", lambda: clock(interface))
    check(interface.name, "InvalidParameter", lambda: device_or_time_invalid(interface, "GetStatus"))
    interface = Interface("os.gabion.Power")
    introspection(interface)
    check(interface.name, "InvalidParameter", lambda: power_invalid(interface))


# What an app may not.


def denied(interface):
    name, why = interface.error("PowerOff", reason="because")
    same(name, f"{SERVICE}.PermissionDenied")
    same(why["method"], "os.gabion.Power.PowerOff")
    return why["manifest_line"]


def denied_first(interface):
    # What cannot be read is not looked at.
    name, _ = interface.misread("PowerOff(unheard: int)").error("PowerOff", unheard=1)
    same(name, f"{SERVICE}.PermissionDenied")


def nothing_comes(interface):
    updates = interface.call("GetStatus")["updates"]
    same([update["state"] for update in updates], ["none", "none"])


def absent(interface):
    try:
        interface.call("List")
    except FileNotFoundError:
        return
    raise AssertionError("it is there")


def app():
    anybody()
    power = Interface("os.gabion.Power")
    check(power.name, "PermissionDenied", lambda: denied(power))
    check(power.name, "PermissionDenied-first", lambda: denied_first(power))
    check("os.gabion.Update", "GetStatus", lambda: nothing_comes(Interface("os.gabion.Update")))
    check("os.gabion.Apps", "absent", lambda: absent(Interface("os.gabion.Apps")))


# Interfaces that only the image's own boxes may use.


def apps_list(interface):
    apps = {app["id"]: app for app in interface.call("List")["apps"]}
    same((apps[HEART]["state"], apps[HEART]["system"]), ("running", False))
    same((apps[SELF]["state"], apps[SELF]["system"], apps[SELF]["uid"]), ("running", True, 1001))
    same("problem" in apps[HEART], False)


def apps_moved(interface):
    state = lambda: interface.call("GetStatus", app=HEART)["status"]["state"]
    before = interface.call("GetStatus", app=HEART)["status"]["pid"]
    same(interface.call("Restart", app=HEART), {})
    same(interface.call("GetStatus", app=HEART)["status"]["pid"] == before, False)
    same(interface.call("Stop", app=HEART), {})
    same(state(), "stopped")
    # A shell that is the first process of its box hears no SIGTERM.
    last = interface.call("GetStatus", app=HEART)["status"]["last_exit"]
    same((last["reason"], last["detail"]), ("stopped", "signal=SIGKILL"))
    same(interface.call("Start", app=HEART), {})
    same(state(), "running")


def apps_follow(interface):
    with interface.stream("FollowLog", app=HEART, lines=3) as replies:
        same(len(next(replies)["lines"]) <= 3, True)
        pushed = next(replies)
    line = pushed["lines"][0]
    same((line["stream"], line["text"].startswith("beat "), pushed["skipped"]), ("stdout", True, 0))


def apps_log(interface):
    log = interface.call("GetLog", app=HEART, lines=2)
    same((len(log["lines"]), log["dropped"]), (2, 0))
    # The library takes no descriptor: the file is lost with the reply, which is whole.
    same(interface.call("ExportLog", app=HEART)["size_bytes"] > 0, True)


def apps_errors(interface):
    for method in ["GetStatus", "Start", "Stop", "Restart", "Wipe", "ExportLog"]:
        same(interface.error(method, app="org.nobody"), ("os.gabion.Apps.AppNotFound", {"app": "org.nobody"}))
    try:
        with interface.stream("FollowLog", app="org.nobody", lines=0) as replies:
            raise AssertionError(f"answered {next(replies)}")
    except varlink.VarlinkError as error:
        same(error.error(), "os.gabion.Apps.AppNotFound")
    same(interface.error("Stop", app="os.gabion.apps"), ("os.gabion.Apps.SystemApp", {"app": "os.gabion.apps"}))


def apps_invalid(interface):
    interface.invalid("lines", "GetLog", app=HEART, lines=0)
    interface.invalid("lines", "GetLog", app=HEART, lines=1001)
    interface.invalid("app", "GetStatus")
    interface.misread("GetStatus(app: int)").invalid("app", "GetStatus", app=7)
    interface.expects_more("FollowLog", app=HEART, lines=0)


def apps():
    interface = Interface("os.gabion.Apps")
    introspection(interface)
    check(interface.name, "List", lambda: apps_list(interface))
    check(interface.name, "Restart-Stop-Start", lambda: apps_moved(interface))
    check(interface.name, "FollowLog", lambda: apps_follow(interface))
    check(interface.name, "GetLog-ExportLog", lambda: apps_log(interface))
    check(interface.name, "errors", lambda: apps_errors(interface))
    check(interface.name, "InvalidParameter", lambda: apps_invalid(interface))


def until(replies, pick):
    """Reads pushed replies until one has what is looked for."""
    return next(found for reply in replies if (found := pick(reply)))


def crashes_follow(interface):
    with interface.stream("Follow", newest=0) as replies:
        same(next(replies), {"crashes": []})
        Interface("os.gabion.Apps").call("Start", app=FAULTY)
        ours = lambda reply: [crash for crash in reply["crashes"] if crash["app"] == FAULTY]
        crash = until(replies, ours)[0]
    same((crash["reason"], crash["detail"], crash["system"]), ("exit", "code=3", False))
    crashed = {app["app"]: app["last"] for app in interface.call("List")["apps"]}
    # That the heart was stopped is no crash.
    same((list(crashed), crashed[FAULTY]["time"]), ([FAULTY], crash["time"]))


def crashes_invalid(interface):
    interface.misread("List(unheard: int)").invalid("unheard", "List", unheard=1)
    with interface.stream("Follow", newest=1) as replies:
        same(next(replies)["crashes"][0]["app"], FAULTY)
    interface.expects_more("Follow", newest=0)


def crashes():
    interface = Interface("os.gabion.Crashes")
    introspection(interface)
    check(interface.name, "Follow-List", lambda: crashes_follow(interface))
    check(interface.name, "InvalidParameter", lambda: crashes_invalid(interface))


def audit_follow(interface):
    with interface.stream("Follow", newest=1) as replies:
        same(len(next(replies)["events"]), 1)
        Interface("os.gabion.Time").call("GetStatus")
        ours = lambda event: (event["app"], event["interface"], event["kind"]) == (SELF, "os.gabion.Time", "opened")
        event = until(replies, lambda reply: [event for event in reply["events"] if ours(event)])[0]
    known = interface.call("List", newest=100)["events"]
    same([other["serial"] for other in known if other["number"] == event["number"]], [event["serial"]])


def audit_invalid(interface):
    interface.invalid("newest", "List", newest=0)
    interface.invalid("newest", "List", newest=101)
    interface.expects_more("Follow", newest=0)


def audit():
    interface = Interface("os.gabion.Audit")
    introspection(interface)
    check(interface.name, "Follow-List", lambda: audit_follow(interface))
    check(interface.name, "InvalidParameter", lambda: audit_invalid(interface))


def grants(interface):
    listed = interface.call("List")["grants"]
    return {(grant["app"], grant["interface"]): grant for grant in listed}


def bus_list(interface):
    grant = grants(interface)[APP, "os.gabion.Power"]
    same((grant["methods"], grant["server"]), (["Reboot"], "os.gabion.apps"))
    why = interface.call("Why", app=APP, interface="os.gabion.Power", method="PowerOff")
    line = '[uses] "os.gabion.Power" = ["PowerOff", "Reboot"]'
    same((why["allowed"], why["because"].endswith(line)), (False, True))
    why = interface.call("Why", app=APP, interface="os.gabion.Power", method="Reboot")
    same(why["allowed"], True)


def bus_closed(interface):
    # Every stream that was left open by its reader; the ends travel to the router and back.
    for name in ["os.gabion.Apps", "os.gabion.Audit", "os.gabion.Crashes", "os.gabion.Time"]:
        while grants(interface)[SELF, name]["connections"]:
            time.sleep(0.1)


@contextlib.contextmanager
def calling(interface, method):
    """Calls again and again: nothing tells when watching begins."""
    enough = threading.Event()

    def call():
        while not enough.wait(0.1):
            interface.call(method)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def bus_monitor(interface):
    if not Interface("os.gabion.Device").call("GetInfo")["developer"]:
        try:
            with interface.stream("Monitor") as replies:
                raise AssertionError(f"answered {next(replies)}")
        except varlink.VarlinkError as error:
            same((error.error(), error.parameters() or {}), ("os.gabion.Bus.DeveloperModeOnly", {}))
            return "production"
    ours = lambda call: (call["app"], call["interface"]) == (SELF, "os.gabion.Time")
    with interface.stream("Monitor") as replies, calling(Interface("os.gabion.Time"), "GetStatus"):
        call = until(replies, lambda reply: ours(reply["call"]) and reply["call"])
        same((call["method"], call["refused"]), ("GetStatus", False))
        call = until(replies, lambda reply: reply["call"]["refused"] and reply["call"])
    same((call["app"], call["interface"], call["method"]), (APP, "os.gabion.Power", "PowerOff"))
    return "developer"


def bus_invalid(interface):
    interface.invalid("method", "Why", app=APP, interface="os.gabion.Power")
    interface.expects_more("Monitor")


def bus():
    interface = Interface("os.gabion.Bus")
    introspection(interface)
    check(interface.name, "List-Why", lambda: bus_list(interface))
    check(interface.name, "connections-closed", lambda: bus_closed(interface))
    check(interface.name, "Monitor", lambda: bus_monitor(interface))
    check(interface.name, "InvalidParameter", lambda: bus_invalid(interface))


def app_done():
    with Interface("os.gabion.Apps").stream("FollowLog", app=APP, lines=1000) as replies:
        until(replies, lambda reply: [line for line in reply["lines"] if line["text"] == "foreign: done"])


def power_reboot():
    interface = Interface("os.gabion.Power")
    with interface.open() as first, interface.open() as second:
        same(first.Reboot(reason="all is said"), {})
        try:
            raise AssertionError(f"answered {second.PowerOff(reason='once more')}")
        except varlink.VarlinkError as error:
            same((error.error(), error.parameters() or {}), ("os.gabion.Power.Busy", {}))


def system():
    anybody()
    apps()
    crashes()
    audit()
    bus()
    check("os.gabion.Apps", "FollowLog-until-done", app_done)
    check("os.gabion.Power", "Reboot-Busy", power_reboot)


def refused_for_ever():
    # For who monitors.
    while Interface("os.gabion.Device").call("GetInfo")["developer"]:
        denied(Interface("os.gabion.Power"))
        time.sleep(0.5)


{"app": app, "system": system}[sys.argv[1]]()
print("foreign: done", flush=True)
if sys.argv[1] == "app":
    refused_for_ever()
