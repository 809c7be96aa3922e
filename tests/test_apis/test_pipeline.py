"""Clips that are handed in are treated as the config's own."""

import numpy as np
import pytest
from media_files import brightness

from coavt_mm.apis.pipeline import LoadGivenFrames
from coavt_mm.datasets.transforms import LoadFrames


@pytest.mark.parametrize('times', ['centres', 'cavmae'])
def test_given_frames_are_picked_as_those_of_a_file(clip, times):
    options = dict(num_frames=4, pick='all', times=times)
    row = dict(clip_path=str(clip), start=0.0, end=None)
    frames = np.stack([np.full((4, 4, 3), i, np.uint8) for i in range(20)])
    given = LoadGivenFrames(**options)(dict(row, given_frames=frames, given_fps=10.0))
    file = LoadFrames(**options)(row)
    assert np.allclose(given['frame_times'], file['frame_times'], atol=1e-3)
    for one, other in zip(given['imgs'], file['imgs'], strict=True):
        assert abs(brightness(int(one[0, 0, 0]), 20) - int(other[-1, -1, 1])) <= 4
