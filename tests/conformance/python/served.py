"""The reference client of The Update Framework on what a service serves: what it downloads, or what it refuses.

usage: served.py URL CA STATE PATH   (URL has metadata/ and targets/ below it; CA is a file; STATE has first.json)
Prints the target's bytes in hexadecimal, or `refused: ERROR`.
"""

import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError, DownloadError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater

url, ca, state, target = sys.argv[1:]


class Served(FetcherInterface):
    def _fetch(self, url):
        try:
            with urllib.request.urlopen(url, context=ssl.create_default_context(cafile=ca)) as answer:
                yield answer.read()
        except urllib.error.HTTPError as error:
            raise DownloadHTTPError(str(error), error.code) from error


try:
    updater = Updater(
        state,
        f"{url}/metadata/",
        state,
        f"{url}/targets/",
        Served(),
        bootstrap=Path(state, "first.json").read_bytes(),
    )
    updater.refresh()
    info = updater.get_targetinfo(target)
    if info is None:
        print("refused: NoTarget")
    else:
        with tempfile.NamedTemporaryFile() as place:
            print(Path(updater.download_target(info, place.name)).read_bytes().hex())
except (RepositoryError, DownloadError) as error:
    print(f"refused: {type(error).__name__}")
