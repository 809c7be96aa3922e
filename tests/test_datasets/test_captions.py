import pytest

from coavt_mm.datasets.captions import (
    fill_template,
    fill_templates,
    has_places,
    normalise,
    shared_captions,
)


def test_case_and_spaces_do_not_count():
    assert normalise('  A Dog\n barks ') == normalise('a dog barks') == 'a dog barks'


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


def test_names_of_any_letters_fill_each_template():
    names = ['dog', '{}', '100 % {x}', r'\1', '}{']
    assert fill_templates(['a {}', '{} .'], names) == [
        text for name in names for text in (f'a {name}', f'{name} .')
    ]
    filled = fill_template(
        'a {x} and {label set}', {'x': '{label set}', 'label set': 'b'}
    )
    assert filled == 'a {label set} and b'


def test_places_of_a_template():
    assert has_places('{}', ['']) and has_places('{b} {a}', ['a', 'b'])
    for template in ('', 'a', '{} {}', '{a}', '{', '{} }', '{{}}', '{0}'):
        assert not has_places(template, [''])
