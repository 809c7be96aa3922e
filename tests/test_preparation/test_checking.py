import os

import pytest

from coavt_mm.preparation import check_clip
from coavt_mm.preparation.checking import Task


@pytest.mark.parametrize(
    ('name', 'problems'),
    [
        ('strange_name', []),
        ('no_sound', ['no_sound']),
        ('silent', ['silent']),
        ('no_picture', ['no_picture']),
        ('six_channels', []),
        ('rotated', []),
        ('one_frame', []),
        ('truncated', ['unreadable']),
        ('truncated_index_first', ['unreadable']),
        ('truncated_mkv', ['unreadable']),
        ('zero_bytes', ['unreadable']),
        ('text', ['unreadable']),
        ('noise', ['unreadable']),
        ('folder', ['unreadable']),
    ],
)
def test_problems(horrors, name, problems):
    result = check_clip(Task(str(horrors[name]), None))
    assert result['problems'] == problems
    if 'unreadable' in problems:
        assert str(horrors[name]) in result['reason']
    else:
        assert result['hash']


def test_separate_sound(make_clip):
    silent, loud = str(make_clip(silent=True)), str(make_clip('.wav', picture=False,
        codec='pcm_s16le'))  # fmt: skip
    assert check_clip(Task(silent, loud))['problems'] == []
    assert check_clip(Task(None, loud))['problems'] == ['no_picture']


@pytest.mark.parametrize(
    ('cut', 'start', 'end', 'expected'),
    [
        (None, 30.0, 40.0, (0.0, None)),  # 4 s: cut out of the recording, a bit short
        (True, 30.0, 40.0, (0.0, None)),
        (True, 30.0, 31.5, (0.0, 1.5)),  # it goes on behind the span
        (True, 30.0, None, (0.0, None)),
        (None, 1.0, 2.5, (1.0, 2.5)),  # longer than asked for: the whole recording
        (None, None, None, (0.0, None)),
        (False, 1.0, 3.5, (1.0, 3.5)),
        (False, 1.0, None, (1.0, None)),
    ],
)
def test_span_within_the_file(make_clip, cut, start, end, expected):
    path = str(make_clip(seconds=4.0, gop=5))
    result = check_clip(Task(path, None, cut, start, end))
    assert (result['start'], result['end']) == expected
    assert result['problems'] == []
    assert result['seconds'] == pytest.approx(4.0, abs=0.1)


def test_too_short(make_clip):
    path = str(make_clip(seconds=4.0, gop=5))
    for task in (Task(path, None, min_seconds=5.0), Task(path, None, False, 3.5, 9.0)):
        assert check_clip(task)['problems'] == ['too_short']


def test_headers_only(make_clip, horrors):
    assert (
        check_clip(Task(str(horrors['silent']), None, decode=False))['problems'] == []
    )
    first = str(horrors['truncated_index_first'])
    assert check_clip(Task(first, None, decode=False))['problems'] == []
    assert check_clip(Task(str(horrors['no_sound']), None, decode=False))[
        'problems'
    ] == ['no_sound']


def test_a_pipe_that_never_yields(tmp_path):
    os.mkfifo(tmp_path / 'pipe.mp4')
    result = check_clip(Task(str(tmp_path / 'pipe.mp4'), None))
    assert result['problems'] == ['unreadable']
    assert 'not a regular file' in result['reason']
