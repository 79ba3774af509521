"""Fetches the web app's page every ten seconds and says what came; feeds its watchdog with Debian's sdnotify."""

import signal
import sys
import time
import urllib.error
import urllib.request

import sdnotify

URL = "http://localhost:8080/index.html"

# An app is process 1 of its own pid namespace, where a signal without a handler does nothing.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

notifier = sdnotify.SystemdNotifier()
notifier.notify("READY=1")
while True:
    notifier.notify("WATCHDOG=1")
    try:
        with urllib.request.urlopen(URL, timeout=5) as answer:
            print(f"{URL}: {answer.status}, {len(answer.read())} bytes", flush=True)
        time.sleep(10)
    except urllib.error.URLError as error:
        print(f"{URL}: {error.reason}; trying again", flush=True)
        time.sleep(1)
