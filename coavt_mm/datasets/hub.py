"""Is something of the hub in the cache of this machine, and can the hub be reached?"""

import ssl
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from huggingface_hub import constants, snapshot_download

SECONDS = 5.0  # within which the hub has to answer


def cached_folder(name: str) -> Path | None:
    """The folder in the cache with the files of a hub id.

    Args:
        name: The id.

    Returns:
        Its path, None if it is not there.
    """
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except OSError:
        return None


def hub_answers() -> bool:
    """Ask once: the hub's own library would try for a minute."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        urlopen(Request(constants.ENDPOINT, method='HEAD'), timeout=SECONDS).close()
    except HTTPError:
        return True
    except URLError as error:  # certificates are a matter of its own library
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False
    return True
