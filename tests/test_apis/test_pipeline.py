"""Clips that are handed in are treated as the config's own."""

import numpy as np
import pytest
from media_files import brightness

from coavt_mm.apis.inputs import as_clips
from coavt_mm.apis.pipeline import ClipPipeline
from coavt_mm.apis.reading import samples
from coavt_mm.datasets.sources import ArraySource
from coavt_mm.datasets.transforms import LoadFrames
from coavt_mm.errors import ConfigError


@pytest.mark.parametrize('times', ['centres', 'cavmae'])
def test_given_frames_are_picked_as_those_of_a_file(clip, times):
    options = dict(num_frames=4, pick='all', times=times)
    row = dict(clip_path=str(clip), start=0.0, end=None)
    frames = np.stack([np.full((4, 4, 3), i, np.uint8) for i in range(20)])
    given = LoadFrames(**options)(dict(row, picture=ArraySource(frames, 10.0)))
    file = LoadFrames(**options)(row)
    assert np.allclose(given['frame_times'], file['frame_times'], atol=1e-3)
    for one, other in zip(given['imgs'], file['imgs'], strict=True):
        assert abs(brightness(int(one[0, 0, 0]), 20) - int(other[-1, -1, 1])) <= 4


FRAMES = dict(type='LoadFrames', num_frames=2, pick='middle')
SOUND = dict(type='LoadAudio', seconds=0.5)
PACK = dict(type='PackAVTInputs')
RESIZE = dict(type='mmaction.Resize', scale=(32, 32), keep_ratio=False)
SHOWN = dict(type='IfVisual', transforms=[RESIZE])


@pytest.mark.parametrize(
    'transforms',
    [[SOUND, SHOWN, PACK], [SHOWN, FRAMES, PACK], [RESIZE, SOUND, PACK]],
    ids=['no picture', 'too early', 'bare'],
)
def test_a_wrong_order_is_said_before_the_first_clip(transforms):
    with pytest.raises(ConfigError, match=r'can not prepare a clip \(KeyError: '):
        ClipPipeline(transforms, 32)


def test_pipelines_of_one_sense():
    for transforms in ([SOUND, PACK], [FRAMES, SHOWN, PACK]):
        ClipPipeline(transforms, 32)


def test_loaders_that_ask_for_a_process_beside_get_it(clip):
    """As a config's may, whose checkpoint is asked without the option."""
    pipeline = ClipPipeline([FRAMES | dict(isolate=True), SHOWN, SOUND, PACK], 32)
    got = [*samples(pipeline, 0.5, as_clips(str(clip))[0])]
    plain = ClipPipeline([FRAMES, SHOWN, SOUND, PACK], 32)
    wanted = [*samples(plain, 0.5, as_clips(str(clip))[0])]
    assert len(got) == len(wanted) == 4
    for one, other in zip(got, wanted, strict=True):
        for key, value in one['inputs'].items():
            assert np.array_equal(value, other['inputs'][key])
