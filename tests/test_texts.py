"""When two texts are the same; templates."""

from coavt_mm.texts import fill_template, fill_templates, has_places, normalise


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
