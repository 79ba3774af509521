"""Says which device it is on, then fetches the web app's page every ten seconds and says what came.

Feeds its watchdog with Debian's sdnotify. The bus takes no library: varlink is JSON, and a zero byte ends a message.
"""

import json
import signal
import socket
import sys
import time
import urllib.error
import urllib.request

import sdnotify

URL = "http://localhost:8080/index.html"


def about_device():
    """The answer of os.gabion.Device.GetInfo, which this app's manifest names."""
    with socket.socket(socket.AF_UNIX) as bus:
        bus.settimeout(30)
        bus.connect("/run/bus/os.gabion.Device")
        bus.sendall(b'{"method":"os.gabion.Device.GetInfo"}\0')
        reply = b""
        while not reply.endswith(b"\0"):
            if not (part := bus.recv(4096)):
                raise ConnectionError("the bus closed the connection")
            reply += part
    return json.loads(reply[:-1])["parameters"]


# An app is process 1 of its own pid namespace, where a signal without a handler does nothing.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

notifier = sdnotify.SystemdNotifier()
notifier.notify("READY=1")
device = about_device()
print(f"{device['os']} {device['os_version']}, boot {device['boot_id']}", flush=True)
while True:
    notifier.notify("WATCHDOG=1")
    try:
        with urllib.request.urlopen(URL, timeout=5) as answer:
            print(f"{URL}: {answer.status}, {len(answer.read())} bytes", flush=True)
        time.sleep(10)
    except urllib.error.URLError as error:
        print(f"{URL}: {error.reason}; trying again", flush=True)
        time.sleep(1)
