"""The data set that reads shards."""

import os

import torch
from mmengine.dataset import force_full_init

from coavt_mm.datasets.dataset import AVTDataset
from coavt_mm.datasets.shards.index import read_index
from coavt_mm.datasets.shards.reading import ShardReader
from coavt_mm.datasets.sources import ShardSource
from coavt_mm.registry import DATASETS

# What the index says of a sample, and no transform needs.
PLACE = ('shard', 'key', 'offset', 'size', 'crc32', 'audio_samples', 'frame_times')


@DATASETS.register_module()
class AVTShardDataset(AVTDataset):
    """The clips of a manifest, read from the shards that were made of it.

    It is a map-style data set: the index says where each sample lies, and one range
    of bytes is read for it. So an epoch has a known length, every sample comes once
    whatever the number of ranks and workers, and a run is resumed at any sample, by
    the sampler alone; ``ShardSampler`` keeps the reads close together.

    ``metainfo`` has the same keys as that of ``AVTDataset``; ``hash`` is that of the
    manifest, and clips that could not be read when the shards were made count as
    missing.

    Args:
        ann_file: The shards' ``index.jsonl``, as a path or any address that fsspec
            opens ('s3://...', 'gs://...', with their drivers installed).
        data_root: Folder or address that ``ann_file`` starts from.
        cache_dir: Local folder that shards are copied to, whole, when first read. It
            needs room for all that are read.
        timeout: Limit for reading a sample without a cache, in s.
        **kwargs: Those of ``AVTDataset``. ``missing`` is about shards that are missing
            or cut short, ``on_error`` about damaged samples.
    """

    _has_manifest = False

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        *args,
        cache_dir: str | None = None,
        timeout: float | None = 60.0,
        **kwargs,
    ):
        self.cache_dir = cache_dir
        self.timeout = timeout
        # joined here: mmengine knows no address but its own back ends' prefixes
        if '://' not in ann_file:
            ann_file = os.path.join(data_root, ann_file)
        super().__init__(ann_file, '', *args, **kwargs)

    def _read_rows(self) -> tuple[list[dict], dict]:
        header, rows = read_index(self.ann_file, self.how_to_get)
        self.settings = header['settings']
        self.reader = ShardReader(
            self.ann_file, header['shards'], self.cache_dir, self.timeout
        )
        failed = [clip['id'] for clip in header['failed']]
        about = dict(
            header,
            manifest=self.ann_file,
            missing=header.get('missing', 0) + len(failed),
            missing_ids=failed,
        )
        return rows, about

    def _split_missing(self, rows: list[dict]) -> tuple[list[dict], list[dict]]:
        whole = {n: self.reader.is_whole(n) for n in {row['shard'] for row in rows}}
        here = [row for row in rows if whole[row['shard']]]
        return here, [row for row in rows if not whole[row['shard']]]

    def _describe_missing(self, total: int, gone: list[dict]) -> str:
        numbers = sorted({row['shard'] for row in gone})
        names = ', '.join(self.reader.addresses[n] for n in numbers[:5])
        more = f' and {len(numbers) - 5} more' if len(numbers) > 5 else ''
        return (
            f'{len(numbers)} shards with {len(gone)} of {total} clips are missing or '
            f'cut short: {names}{more}'
        )

    def _opened(self, row: dict) -> dict:
        opened = {k: v for k, v in row.items() if k not in PLACE}
        seconds = row['audio_samples'] / self.settings['sample_rate']
        source = ShardSource(self.reader.read(row), row['frame_times'], seconds)
        return dict(opened, picture=source, sound=source)

    @property
    @force_full_init
    def shard_numbers(self) -> torch.Tensor:
        """(N,) int64, the shard that each sample lies in."""
        return torch.tensor([self.get_data_info(i)['shard'] for i in range(len(self))])
