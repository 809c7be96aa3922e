"""A shard holds what its clips show, of whatever build they are."""

from fractions import Fraction

import numpy as np
import pytest
from media_files import write_rows
from PIL import Image
from strange_media import cut, number, write_strange

from coavt_mm.datasets import AVTDataset
from coavt_mm.datasets.shards.dataset import AVTShardDataset
from coavt_mm.preparation.shards import make_shards


@pytest.fixture(scope='module')
def manifest(tmp_path_factory):
    root = tmp_path_factory.mktemp('strange')
    whole = write_strange(root / 'whole.mp4')
    cut(whole, root / 'cut.mp4', 1.55, 1.0)
    write_strange(root / 'offset.ts', video_start=600, audio_start=600)
    write_strange(root / 'late.mkv', video_start=1.0)
    write_strange(root / 'wide.mp4', aspect=Fraction(2))
    write_strange(root / 'uneven.mp4', audio=None, pts=[0, 1, 2, 30, 31, 32, 90])
    Image.new('RGB', (64, 64), (90, 90, 90)).save(root / 'still.png')
    names = ('cut.mp4', 'offset.ts', 'late.mkv', 'wide.mp4', 'uneven.mp4', 'still.png')
    rows = [dict(id=name, clip=name) for name in names]
    rows.append(dict(id='part', clip='offset.ts', start=1.0, end=2.0))
    return write_rows(root / 'm.jsonl', rows)


def samples(kind, path, root, shards=''):
    load = [
        dict(type=f'Load{shards}Frames', num_frames=10, pick='all'),
        dict(type=f'Load{shards}Audio', seconds=4.0),
    ]
    return list(kind(str(path), str(root), pipeline=load, test_mode=True))


def test_shards_equal_clips(manifest, tmp_path):
    make_shards(manifest, tmp_path, str(manifest.parent))
    raw = samples(AVTDataset, manifest, manifest.parent)
    packed = samples(AVTShardDataset, 'index.jsonl', tmp_path, 'Shard')
    assert len(raw) == len(packed) == 7
    for clip, sample in zip(raw, packed, strict=True):
        assert clip['frame_times'] == pytest.approx(sample['frame_times'])
        shown = [number(image) for image in clip['imgs']]
        assert [number(image) for image in sample['imgs']] == shown
        assert [i.shape for i in sample['imgs']] == [i.shape for i in clip['imgs']]
        assert clip['has_audio'] == sample['has_audio']
        if clip['has_audio']:
            difference = np.abs(clip['waveform'] - sample['waveform'])
            assert difference.max() < 1e-4  # 16 bit
    assert [number(i) for i in packed[0]['imgs']] == [16, 18, 19, 21, 22, 23, 25, 26,
                                                      28, 29]  # fmt: skip
    assert [number(i) for i in packed[6]['imgs']] == list(range(10, 20))
