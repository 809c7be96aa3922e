"""Clips for validation, cut from a training list that comes without."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from coavt_mm.errors import ConfigError
from coavt_mm.preparation.sources import ListedClip


def cut_validation(
    clips: Sequence[ListedClip], number: int
) -> tuple[list[ListedClip], list[ListedClip]]:
    """Cut whole recordings from a training list, the same ones each time.

    Recordings are taken in the order of a hash of their names, whatever the order of
    the list and the files on disk, until there are enough clips.

    Args:
        clips: The training list.
        number: Clips for validation; a recording more than one clip was cut from may
            bring some more.

    Returns:
        Clips for training, and clips for validation, in the order of the list.

    Raises:
        ConfigError: None would be left for training.
    """
    sizes: dict[str, int] = defaultdict(int)
    for clip in clips:
        sizes[clip.source] += 1
    chosen: set[str] = set()
    count = 0
    for source in sorted(sizes, key=_digest):
        if count >= number:
            break
        chosen.add(source)
        count += sizes[source]
    rest = [clip for clip in clips if clip.source not in chosen]
    if not rest:
        raise ConfigError(
            f'{number} clips for validation of a training list of {len(clips)} leave '
            'none to train on; take fewer (--val-clips)'
        )
    return rest, [clip for clip in clips if clip.source in chosen]


def _digest(source: str) -> bytes:
    return hashlib.sha256(f'validation:{source}'.encode()).digest()
