"""Is something of the hub in the cache of this machine, and can the hub be reached?"""

import ssl
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from huggingface_hub import constants, snapshot_download

from coavt_mm.errors import DatasetMissingError

SECONDS = 5.0  # within which the hub has to answer


def check_reachable(name: str) -> Path | None:
    """Find a hub id in the cache, else make sure that the hub can be asked for it.

    Args:
        name: The id.

    Returns:
        Its folder in the cache; None where the hub has to be asked.

    Raises:
        DatasetMissingError: It is not in the cache, and the hub does not answer.
    """
    cached = cached_folder(name)
    files = ('tokenizer.json', 'vocab.txt')
    if cached is not None and any((cached / file).is_file() for file in files):
        return cached
    if not hub_answers():
        raise DatasetMissingError(
            f'tokenizer {name}: not in the cache of this machine, and the hub can not '
            'be reached; set the tokenizer to a folder with tokenizer.json or '
            'vocab.txt (--cfg-options tokenizer=DIR)'
        )
    return None


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
