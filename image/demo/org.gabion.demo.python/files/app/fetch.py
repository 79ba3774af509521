"""Fetches the web app's page every ten seconds and says what came."""

import time
import urllib.error
import urllib.request

URL = "http://localhost:8080/index.html"

while True:
    try:
        with urllib.request.urlopen(URL, timeout=5) as answer:
            print(f"{URL}: {answer.status}, {len(answer.read())} bytes", flush=True)
        time.sleep(10)
    except urllib.error.URLError as error:
        print(f"{URL}: {error.reason}; trying again", flush=True)
        time.sleep(1)
