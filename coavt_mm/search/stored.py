"""What an index says of itself, checked: its folder may be from somebody else."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coavt_mm.datasets.reading import parse_json
from coavt_mm.errors import SearchError
from coavt_mm.search.stores import EMBEDDED
from coavt_mm.streams import STREAMS

_OF_WRONG_NUMBERS = (
    ArithmeticError, AssertionError, LookupError, StopIteration, TypeError, ValueError
)  # fmt: skip
WIDEST = 1 << 16  # numbers of a vector, and vectors of a window
# what is noted of a person: servers and files that their indices keep vectors in
KNOWN = 'stores.json'


@dataclass(frozen=True)
class About:
    """What is noted of an index.

    Args:
        settings: See :class:`~coavt_mm.search.index.Index`.
        shapes: Stream -> (F, Q).
        generation: How often it was compacted.
    """

    settings: dict[str, Any]
    shapes: dict[str, tuple[int, int]]
    generation: int


def read_about(noted: Mapping[str, Any], folder: Path) -> About:
    """Check what a catalogue notes.

    Args:
        noted: Its table of texts.
        folder: Of the index.

    Raises:
        SearchError: Something is missing, or of another kind than an index writes.
    """
    try:
        settings, shapes = (parse_json(noted[key]) for key in ('settings', 'shapes'))
        _check_settings(settings)
        _check_shapes(shapes)
        generation = int(noted['generation'])
        if not 0 <= generation < 1 << 31:
            raise ValueError(f'generation is {generation}')
    except (KeyError, TypeError, ValueError) as error:
        reason = f'no {error}' if isinstance(error, KeyError) else str(error)
        raise SearchError(
            f'{folder}: the index is damaged ({reason:.100}); make it anew'
        ) from error
    pairs = {stream: (shape[0], shape[1]) for stream, shape in shapes.items()}
    return About(settings, pairs, generation)


def _check_settings(settings: Any) -> None:
    for key in ('model', 'checkpoint', 'store', 'name'):
        if not isinstance(settings[key], str) or '\0' in settings[key]:
            raise ValueError(f'{key} is {settings[key]!r:.40}')
    name, checkpoint = settings['name'], settings['checkpoint']
    if not (name.isascii() and name.isalnum()):  # names tables of servers
        raise ValueError(f'name is {name!r:.40}')
    if checkpoint and not os.path.isabs(checkpoint):
        raise ValueError(f'checkpoint is {checkpoint!r:.40}, no file')
    if type(settings['width']) is not int or not 0 < settings['width'] <= WIDEST:
        raise ValueError(f'width is {settings["width"]!r:.40}')
    for key in ('seconds', 'hop'):
        value = settings[key]
        if type(value) not in (int, float) or not 1e-3 <= value <= 1e6:
            raise ValueError(f'{key} is {value!r:.40}')


def _check_shapes(shapes: Any) -> None:
    for stream, shape in shapes.items() if isinstance(shapes, dict) else [('', '')]:
        whole = isinstance(shape, list) and all(type(x) is int and x > 0 for x in shape)
        if stream not in STREAMS or not whole or len(shape) != 2:
            raise ValueError(f'shapes are {shapes!r:.40}')
        if math.prod(shape) > WIDEST:
            raise ValueError(f'a window has {math.prod(shape)} vectors')


def check_files(folder: Path) -> None:
    """Refuse links and pipes, through which an index would write elsewhere.

    Args:
        folder: Of the index.

    Raises:
        SearchError: There is something else than files.
    """
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        if not entry.is_file(follow_symlinks=False):
            raise SearchError(
                f'{folder}: {entry.name} is no file of its own, as all of an index are'
            )


@contextmanager
def making_sense(folder: Path) -> Iterator[None]:
    """Say in one line that what was read of an index makes no sense.

    Args:
        folder: Of the index.

    Raises:
        SearchError: The block raised what wrong numbers raise.
    """
    try:
        yield
    except (
        ArithmeticError,
        AssertionError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise SearchError(
            f'{folder}: can not be asked so ({reason:.200}); if all that was given is '
            'right, the index is damaged: make it anew'
        ) from error


# --------------------------------------------------------------------------------------
# Stores outside of the folder
# --------------------------------------------------------------------------------------
def _known_file() -> Path:
    home = os.environ.get('XDG_CONFIG_HOME') or '~/.config'
    return Path(home).expanduser() / 'coavt_mm' / KNOWN


def _known() -> list[str]:
    try:
        known = json.loads(_known_file().read_text('utf-8'))
    except (OSError, ValueError):
        return []
    return known if isinstance(known, list) else []


def remember_store(address: str) -> None:
    """Note a store that its user has named; it holds their vectors, and may be asked.

    Args:
        address: Of the store.
    """
    known = _known()
    if address != EMBEDDED and address not in known:
        file = _known_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([*known, address]), 'utf-8')


def check_store(address: str, folder: Path) -> None:
    """Refuse a server or file that only the index names, and not its user.

    Args:
        address: Of the store.
        folder: Of the index.

    Raises:
        SearchError: Nobody here has made an index with this store.
    """
    if address != EMBEDDED and address not in _known():
        raise SearchError(
            f'{folder}: would ask {address}, with which no index was made here; if you '
            f'trust who made it, put {json.dumps(address)} into the list in '
            f'{_known_file()}'
        )
