"""When two texts are the same; templates; texts in pages and tables."""

import pytest

from coavt_mm.texts import (
    as_code,
    fill_template,
    fill_templates,
    has_places,
    in_csv,
    in_markdown,
    normalise,
)


def test_case_and_spaces_do_not_count():
    assert normalise('  A Dog\n barks ') == normalise('a dog barks') == 'a dog barks'


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


@pytest.mark.parametrize(
    ('text', 'wanted'),
    [
        ('a_b (1) *c*.mp4', 'a_b (1) *c*.mp4'),
        ('<script>alert(1)</script>|\n# h', r'\<script>alert(1)\</script>\|\\n# h'),
        ('![x](http://y)`z`', r'!\[x](http://y)\`z\`'),
        ('back\\|slash \x1b[2J', r'back\\\|slash \\x1b\[2J'),
        (12, '12'),
    ],
)
def test_markdown(text, wanted):
    assert in_markdown(text) == wanted


@pytest.mark.parametrize(
    ('name', 'wanted'),
    [('a|b', '`a|b`'), ('a`b\n', '`` a`b\\n ``'), ('``', '``` `` ```')],
)
def test_code(name, wanted):
    assert as_code(name) == wanted


@pytest.mark.parametrize('first', ['=', '+', '-', '@', '\t', '\r'])
def test_no_formula_in_a_csv(first):
    assert in_csv(f'{first}cmd') == f"'{first}cmd"


def test_other_cells_of_a_csv_stay():
    assert [in_csv(x) for x in ('a=b', '', -1.5, None)] == ['a=b', '', -1.5, None]
    assert in_csv('ä\ud800\n') == 'ä\\ud800\n'  # what JSON can spell and no file hold
