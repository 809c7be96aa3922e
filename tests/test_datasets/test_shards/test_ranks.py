"""Two real processes with two workers each, on both kinds of data set."""

import pytest
import ranks
import torch
from media_files import write_rows

from coavt_mm.preparation.shards import Settings, make_shards


@pytest.mark.slow
def test_an_epoch_is_shared_out_and_continued(tmp_path, clip):
    rows = [{'id': f'c{i}', 'clip': str(clip), 'captions': ['x']} for i in range(10)]
    manifest = write_rows(tmp_path / 'm.jsonl', rows)
    settings = Settings(num_frames=2, short_side=24, seconds=0.1)
    make_shards(manifest, tmp_path, settings=settings, per_shard=4)
    out = str(tmp_path / 'seen')
    ranks.run_two_ranks(ranks.epoch_worker, str(tmp_path), out)
    one, two = (torch.load(f'{out}.{rank}') for rank in range(2))
    for kind in ('AVTDataset', 'AVTShardDataset'):
        first, second = one[kind, 0], two[kind, 0]
        assert sorted(first + second) == sorted(row['id'] for row in rows)
        # four global samples were seen: each rank goes on behind its first two
        assert one[kind, 4] == first[2:]
        assert two[kind, 4] == second[2:]
