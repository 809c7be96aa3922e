"""Class lists of AudioSet and VGGSound; README.md beside them says where they come
from."""

import csv
from functools import cache
from pathlib import Path

from coavt_mm.errors import ConfigError

LISTS = ('audioset', 'vggsound')


@cache
def class_ids(name: str) -> dict[str, str]:
    """Machine id (such as '/m/09x0r') -> display name, in the order of the classes.

    Args:
        name: 'audioset' or 'vggsound'.

    Raises:
        ConfigError: There is no list of that name.
    """
    if name not in LISTS:
        raise ConfigError(f"class list '{name}' is none of {', '.join(LISTS)}")
    path = Path(__file__).with_name(f'{name}.csv')
    with open(path, encoding='utf-8-sig', newline='') as file:
        return {row['mid']: row['display_name'] for row in csv.DictReader(file)}


def class_names(name: str) -> list[str]:
    """Display names of the classes, in order; see ``class_ids``."""
    return list(class_ids(name).values())
