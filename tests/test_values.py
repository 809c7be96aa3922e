"""Values of settings on a command line."""

import pytest
from mmengine.config import DictAction

from coavt_mm.values import read_settings, read_value

AS_MMENGINE = [
    '1', '-1', '1e-3', 'nan', 'true', 'False', 'None', '', 'a', 'a-b:c', 'AV,A', '1,',
    '1,2', '[1,2]', '(1,2)',
    '(1,)', '[1]', '[]', '()', '[[1,2],[3]]', '[(1,2),[a,b],c]',
    '[(0.5,0.1),(2.6,2.0)]', "'a'", '"a"', "'[1,2]'", "['a','b']", 'http://x/y?a=b',
]  # fmt: skip


@pytest.mark.parametrize('text', AS_MMENGINE)
def test_without_blanks_a_value_is_what_mmengine_makes_of_it(text):
    assert repr(read_value(text)) == repr(DictAction._parse_iterable(text))


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('läufe/mein lauf/iter 1.pth', 'läufe/mein lauf/iter 1.pth'),
        ('C:\\Daten\\a b.pth', 'C:\\Daten\\a b.pth'),
        ('"a, b.pth"', 'a, b.pth'),
        ('[/data/x y/a.jsonl, "b, c.jsonl"]', ['/data/x y/a.jsonl', 'b, c.jsonl']),
        ("'a b', c d", ['a b', 'c d']),
        ('/data/clips (1)', '/data/clips (1)'),
        ('/data/[x]/y (1, 2)', '/data/[x]/y (1, 2)'),
        ('(a) b', '(a) b'),
        ('(a b),(c)', [('a b',), ('c',)]),
        ("/data/O'Neil, x", ["/data/O'Neil", 'x']),
        ("[O'Neil's, x]", ["O'Neil's", 'x']),
        ("{'captions': 1.0, 'a b': [1]}", {'captions': 1.0, 'a b': [1]}),
        ('映画/naïve #2%.mp4', '映画/naïve #2%.mp4'),
    ],
)
def test_blanks_quotes_and_brackets(text, value):
    assert read_value(text) == value


def test_a_path_that_is_there_is_text(tmp_path):
    path = tmp_path / '(1), [2].pth'
    path.touch()
    assert read_value(str(path)) == str(path)
    assert read_value('x(1), [2].pth') == ['x(1)', '[2].pth']


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ('a', "'a' is not KEY=VALUE"),
        ('=1', "'=1' is not KEY=VALUE"),
        ('a=[1', r"a=\[1: ']' is missing"),
        ('a={b: 1}', 'a={b: 1}: a dictionary is written as in Python'),
        ('a={1}', 'no dictionary'),
    ],
)
def test_what_is_no_setting(given, said):
    with pytest.raises(ValueError, match=said):
        read_settings(['x=1', given])
