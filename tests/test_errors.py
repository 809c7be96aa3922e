"""What a terminal is shown of names that others chose."""

import pytest

from coavt_mm.errors import shown


@pytest.mark.parametrize(
    ('name', 'wanted'),
    [
        ('naïve 映画 (1) #2%.mp4', 'naïve 映画 (1) #2%.mp4'),
        ('全角\u3000空白 👩\u200d🎤', '全角\u3000空白 👩\u200d🎤'),
        ('a\x1b[2Jb\x07', r'a\x1b[2Jb\x07'),
        ('a\nError: b\rc\td', r'a\nError: b\rc\td'),
        ('gnp.\u202e4pm', r'gnp.\u202e4pm'),
        ('a\u2028b\x9bc\x7f', r'a\u2028b\x9bc\x7f'),
        (b'\xe9t\xe9'.decode('utf-8', 'surrogateescape'), r'\xe9t\xe9'),
        ('\ud800', r'\ud800'),
    ],
)
def test_shown(name, wanted):
    assert shown(name) == wanted
    shown(name).encode('utf-8')
