"""What was decoded once, kept in a worker's memory."""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from coavt_mm.errors import ConfigError


class Kept:
    """Results of decoding by clip, as many as fit; each process has its own.

    Args:
        gigabytes: Limit in GB (10^9 bytes); what does not fit is decoded each time.

    Raises:
        ConfigError: The limit is negative or no number.
    """

    def __init__(self, gigabytes: float):
        if not isinstance(gigabytes, int | float) or not gigabytes >= 0:
            raise ConfigError(f'keep={gigabytes!r} is no number of GB, 0 or more')
        self.left = gigabytes * 1e9
        self._found: dict[Hashable, Any] = {}

    def get(self, key: Hashable, read: Callable[[], Any]) -> Any:
        """Look up a result, or read it; nobody may write to it.

        Args:
            key: Says what is read.
            read: Gives None, an array, or nested sequences of arrays and numbers.

        Returns:
            What ``read`` gives or gave.
        """
        if key in self._found:
            return self._found[key]
        value = read()
        size = _bytes(value)
        if size <= self.left:
            self.left -= size
            self._found[key] = value
        return value


def _bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return 32
