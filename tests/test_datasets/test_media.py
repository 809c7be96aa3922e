import math
import os

import pytest

from coavt_mm.datasets.media import probe
from coavt_mm.datasets.opening import check_regular_file, source_name, with_time_limit
from coavt_mm.errors import ClipError


def test_a_cover_picture_is_no_picture(make_clip):
    info = probe(make_clip(frames=1, cover=True))
    assert info.has_audio and not info.has_video


def test_probe(horrors):
    info = probe(horrors['short_sound'])
    assert info.has_video and info.has_audio
    assert math.isclose(info.video_end, 2.0, abs_tol=0.01)
    assert math.isclose(info.audio_end, 0.7, abs_tol=0.01)
    assert not probe(horrors['no_sound']).has_audio
    assert not probe(horrors['no_picture']).has_video


def test_time_limit_hands_on_values_and_errors():
    assert with_time_limit(lambda: 7, 5.0, 'x') == 7
    assert with_time_limit(lambda: 7, None, 'x') == 7
    with pytest.raises(KeyError):
        with_time_limit(lambda: {}['a'], 5.0, 'x')


@pytest.mark.parametrize(
    'name, reason',
    [
        ('missing', 'No such file'),
        ('folder', 'regular'),
        ('zero_bytes', 'empty'),
        ('text', 'Invalid data'),
        ('truncated', 'Invalid data'),
    ],
)
def test_unusable_files_are_named(horrors, name, reason):
    with pytest.raises(
        ClipError, match=f'{os.path.basename(horrors[name])}: .*{reason}'
    ):
        probe(horrors[name])


def test_bytes_are_a_source(clip):
    content = clip.read_bytes()
    check_regular_file(content)
    assert probe(content) == probe(clip)
    assert source_name(content) == '<bytes>' and source_name(clip) == str(clip)
