"""Reading of samples from shards, on disk or behind an address."""

import fcntl
import os
import tarfile
import zlib
from pathlib import Path

from coavt_mm.datasets.opening import with_time_limit
from coavt_mm.datasets.shards.archive import unpack_piece
from coavt_mm.datasets.shards.index import open_remote, sha256, sibling
from coavt_mm.errors import ClipError


class ShardReader:
    """Read the pieces of samples by their place in a shard.

    Args:
        index: Path or address of the index; the shards lie beside it.
        shards: The header's ``shards``.
        cache_dir: Local folder that each shard is copied to, whole, when it is first
            read; the copy is checked against the index.
        timeout: Limit for reading a sample without a cache, in s.
    """

    def __init__(
        self,
        index: str,
        shards: list[dict],
        cache_dir: str | None = None,
        timeout: float | None = 60.0,
    ):
        self.shards = shards
        self.addresses = [sibling(index, shard['name']) for shard in shards]
        self.cache_dir = cache_dir
        self.timeout = timeout

    def is_whole(self, number: int) -> bool:
        """Whether a shard is there and as long as the index says."""
        # the file system is asked for each time: fsspec gives every process one of
        # its own, which a forked worker needs
        system, path = open_remote(self.addresses[number])
        try:
            return system.info(path)['size'] == self.shards[number]['bytes']
        except FileNotFoundError:
            return False

    def read(self, sample: dict) -> dict[str, bytes]:
        """The members of a sample, name without key -> content.

        Args:
            sample: With ``shard``, ``key``, ``offset``, ``size`` and ``crc32``.

        Raises:
            ClipError: The shard isn't there, can't be read, or is damaged here.
        """
        address = self.addresses[sample['shard']]
        name = f'{address}, sample {sample["key"]}'
        try:
            if self.cache_dir is not None:
                address = self._cached(sample['shard'], Path(self.cache_dir))
            piece = with_time_limit(
                lambda: _read_range(address, sample['offset'], sample['size']),
                None if self.cache_dir else self.timeout,
                name,
            )
            if zlib.crc32(piece) != sample['crc32']:
                raise ClipError(
                    f'{name}: the shard is damaged (checksum of {len(piece)} bytes '
                    f'from byte {sample["offset"]} on); copy or make it anew'
                )
            return unpack_piece(piece)
        except (OSError, ValueError, tarfile.TarError) as error:  # a size below 0
            raise ClipError(f'{name}: {error}') from error

    def _cached(self, number: int, folder: Path) -> str:
        """Path of the local copy of a shard, which is fetched when there is none."""
        shard = self.shards[number]
        path = folder / f'{shard["sha256"][:16]}-{shard["name"]}'
        if path.is_file():
            return str(path)
        folder.mkdir(parents=True, exist_ok=True)
        # one worker of the machine fetches, the others wait
        with open(path.with_suffix('.lock'), 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                self._fetch(number, path)
        return str(path)

    def _fetch(self, number: int, path: Path) -> None:
        system, remote = open_remote(self.addresses[number])
        partial = path.with_suffix('.tmp')
        system.get_file(remote, str(partial))
        if sha256(partial) != self.shards[number]['sha256']:
            partial.unlink()
            raise ClipError(
                f'{self.addresses[number]}: its checksum is not that of the index; '
                'copy or make it anew'
            )
        os.replace(partial, path)


def _read_range(address: str, offset: int, size: int) -> bytes:
    system, path = open_remote(address)
    return system.cat_file(path, start=offset, end=offset + size)
