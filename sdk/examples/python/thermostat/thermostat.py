"""A thermostat, in Python: it asks a sensor, keeps a history, publishes by MQTT, and puts its update off while it heats.

`thermostat.py PORT`: where gabion-tls listens in this box, which is what the broker sees. The same in C and Rust is beside
this; docs/sdk.md goes through all three.
"""

import json
import os
import socket
import sys
import time

import gabion
import mqtt

TOPIC = "home/kitchen/python"
# It heats from this, up to that, degrees Celsius.
COLD, WARM = 20.0, 21.0
# How long an update is put off, minutes; it is let go as soon as it is warm.
DEFER_MINUTES = 30
# Between two readings, seconds.
TICK_S = 1.0
# How long a broker that could not be reached is left alone, seconds.
AGAIN_S = 10.0
HISTORY = os.path.join(os.environ.get("GABION_DATA", "/data"), "history")
# The history is halved when it is larger, bytes.
HISTORY_MAX = 64 * 1024


def log(level, event, **fields):
    """A line for `gabion logs`; warnings go to standard error, which the device shows as such."""
    words = [f"level={level}", f"event={event}"]
    for key, value in fields.items():
        text = str(value)
        plain = text != "" and not any(c in ' "' or c < " " for c in text)
        words.append(f"{key}={text if plain else json.dumps(text)}")
    print(*words, file=sys.stderr if level in ("warn", "error") else sys.stdout, flush=True)


def notify(message):
    """sd_notify, for `[lifecycle] notify` and `watchdog` of the manifest."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.sendto(message.encode(), path)


class Thermostat:
    def __init__(self, port):
        self.port, self.broker, self.watch = port, None, None
        self.heating = self.pending = self.deferred = self.ready = False
        self.degrees, self.again_at = WARM, 0.0

    def read_sensor(self):
        try:
            self.degrees = gabion.call("com.example.Temperature.Get", room="kitchen")["degrees"]
            return True
        except (OSError, gabion.Failed) as error:
            log("warn", "no-reading", why=error)
            return False

    def settle_update(self):
        """What is pending waits while it heats, and no longer."""
        try:
            if self.pending and self.heating and not self.deferred:
                gabion.call("os.gabion.Update.Defer", target="app", minutes=DEFER_MINUTES)
                self.deferred = True
                log("info", "update-deferred", minutes=DEFER_MINUTES)
            elif self.deferred and not self.heating:
                gabion.call("os.gabion.Update.Resume", target="app")
                self.deferred = False
                log("info", "update-resumed")
        except (OSError, gabion.Failed) as error:
            log("warn", "update-not-settled", why=error)

    def hear_updates(self, timeout):
        try:
            if self.watch is None:
                self.watch = gabion.Call("os.gabion.Update.Watch", more=True)
            event = self.watch.reply(timeout)
        except (OSError, gabion.Failed) as error:
            # Who serves it was started anew, perhaps; it is watched again in a moment.
            log("warn", "updates-not-watched", why=error)
            self.watch = None
            time.sleep(timeout)
            return
        if event is None:
            return
        if event["target"] == "app" and event["happening"] != "deferred":
            self.pending = event["happening"] == "pending"
        if event["target"] == "app" and event["happening"] == "complete":
            self.deferred = False
        log("info", "update", version=event["version"], happening=event["happening"])
        self.settle_update()

    def keep_history(self):
        """On the disk when it is back; the newer half is left when it becomes too large."""
        try:
            with open(HISTORY, "a") as file:
                file.write(f"{int(time.time())} {self.degrees:.2f} {'on' if self.heating else 'off'}\n")
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            if size > HISTORY_MAX:
                with open(HISTORY) as file:
                    lines = file.readlines()
                with open(HISTORY + ".new", "w") as file:
                    file.writelines(lines[len(lines) // 2 :])
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(HISTORY + ".new", HISTORY)
        except OSError as error:
            log("warn", "history-not-kept", why=error)

    def publish(self):
        if self.broker is None and time.monotonic() < self.again_at:
            return
        try:
            if self.broker is None:
                self.broker = mqtt.Broker(self.port)
            message = f'{{"degrees":{self.degrees:.2f},"heating":{"true" if self.heating else "false"}}}'
            self.broker.publish(TOPIC, message)
        except OSError as error:
            log("warn", "not-published", why=error)
            self.broker, self.again_at = None, time.monotonic() + AGAIN_S

    def turn(self):
        if not self.read_sensor():
            return
        before, self.heating = self.heating, self.degrees < (WARM if self.heating else COLD)
        if self.heating != before or not self.ready:
            log("info", "heating", on="true" if self.heating else "false", degrees=f"{self.degrees:.2f}")
            notify(f"STATUS={'heating' if self.heating else 'warm enough'}")
            self.settle_update()
        self.keep_history()
        self.publish()
        if not self.ready:
            notify("READY=1")
        self.ready = True
        # Here, where the work is done.
        notify("WATCHDOG=1")


def main():
    thermostat = Thermostat(int(sys.argv[1]) if len(sys.argv) > 1 else 1885)
    while True:
        thermostat.turn()
        thermostat.hear_updates(TICK_S)


if __name__ == "__main__":
    main()
