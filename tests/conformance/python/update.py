"""The reference client of The Update Framework on a folder: what it downloads, or what it refuses.

usage: update.py FOLDER STATE PATH   (FOLDER has metadata/ and targets/; STATE has root.json)
Prints the target's bytes in hexadecimal, or `refused: ERROR`.
"""

import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

from tuf.api.exceptions import DownloadHTTPError, DownloadError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater


class Folder(FetcherInterface):
    def _fetch(self, url):
        path = Path(unquote(url.removeprefix("file://")))
        if not path.is_file():
            raise DownloadHTTPError("none", 404)
        yield path.read_bytes()


folder, state, target = sys.argv[1:]
try:
    updater = Updater(
        state,
        f"file://{folder}/metadata/",
        state,
        f"file://{folder}/targets/",
        Folder(),
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
