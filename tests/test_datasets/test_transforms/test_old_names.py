"""Names that went; they stay for a release."""

import numpy as np
import pytest

from coavt_mm.checkpoints.stored_checks import FRIENDS, check_types
from coavt_mm.datasets import AVTShardDataset
from coavt_mm.registry import TRANSFORMS

SAMPLER = dict(type='mmaction.SampleFrames', clip_len=1, num_clips=3, test_mode=True)
NAMES = [
    (dict(type='LoadShardFrames', num_frames=10, pick='middle'),
     dict(type='LoadFrames', num_frames=10, pick='middle')),
    (dict(type='LoadShardAudio', seconds=0.5, crop='center'),
     dict(type='LoadAudio', seconds=0.5, crop='center')),
    (dict(type='LoadSampledFrames', sampler=SAMPLER),
     dict(type='LoadFrames', sampler=SAMPLER)),
]  # fmt: skip


@pytest.mark.parametrize(('old', 'new'), NAMES, ids=[old['type'] for old, _ in NAMES])
def test_an_old_name_reads_the_same_and_names_the_new_line(old, new, clip, monkeypatch):
    said = []
    monkeypatch.setattr(
        'coavt_mm.datasets.transforms.old_names.print_log',
        lambda text, **_: said.append(text),
    )
    row = dict(clip_path=str(clip), audio_path=str(clip), start=0.0, end=None)
    loader = TRANSFORMS.build(dict(old))
    assert len(said) == 1 and f"write dict(type='{new['type']}'" in said[0]
    found, expected = loader(dict(row)), TRANSFORMS.build(dict(new))(dict(row))
    assert len(said) == 1 and found.keys() == expected.keys()
    for key, value in expected.items():
        assert np.array_equal(found[key], value), key


def test_old_configs_in_checkpoints_are_understood():
    check_types([old for old, _ in NAMES], TRANSFORMS, FRIENDS, 'old.pth')
    check_types([new for _, new in NAMES], TRANSFORMS, FRIENDS, 'new.pth')


def test_an_old_pipeline_reads_shards(made):
    index, pack = str(made / 'index.jsonl'), dict(type='PackAVTInputs')
    samples = [
        AVTShardDataset(index, pipeline=[NAMES[0][which], NAMES[1][which], pack])[0]
        for which in (0, 1)
    ]
    for key in ('frames', 'waveform'):
        assert samples[0]['inputs'][key].equal(samples[1]['inputs'][key])
