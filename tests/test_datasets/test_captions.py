import pytest

from coavt_mm.datasets.captions import shared_captions


@pytest.mark.parametrize(
    ('rows', 'expected'),
    [
        ([], (0, 0)),
        ([{'clip': 'a'}, {'captions': None}], (0, 0)),
        ([{'captions': ['x', 'X']}], (0, 0)),  # one clip
        ([{'captions': ['x', 'y']}, {'captions': [' X']}, {'captions': ['z']}], (1, 2)),
        ([{'captions': ['x', 'y']}, {'captions': ['y', 'x']}], (2, 2)),
        ([{'captions': ['x']}, {'audio_captions': ['x']}], (0, 0)),
        ([{'audio_captions': ['x']}] * 3, (1, 3)),
    ],
)
def test_shared_captions(rows, expected):
    assert shared_captions(rows) == expected
