"""Texts: when two captions are the same, sentences made from names, and how names and
texts of anybody are written into pages and tables."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from coavt_mm.errors import CoAVTError, ConfigError, shown

PLACE = re.compile(r'\{([^{}]*)\}')  # of a name in a template


def normalise(text: str) -> str:
    """Captions that differ in case or spaces only are the same caption."""
    return ' '.join(text.lower().split())


def has_places(template: str, names: Sequence[str]) -> bool:
    """Whether a sentence has one place for each name, and no other braces.

    Args:
        template: Such as 'a {colour} {shape}', or 'the sound of {}'.
        names: Of the places; that of ``{}`` is ''.
    """
    rest = PLACE.sub('', template)
    fits = sorted(PLACE.findall(template)) == sorted(names)
    return fits and '{' not in rest and '}' not in rest


def check_templates(
    templates: Sequence[str], error: type[CoAVTError] = ConfigError
) -> None:
    """Refuse an empty list, and sentences without exactly one place ``{}``.

    Args:
        templates: Sentences with a place for a name.
        error: What is raised.

    Raises:
        CoAVTError: The message names the sentence.
    """
    if not templates or isinstance(templates, str):
        raise error(
            f'templates must be a list of one sentence or more, got {templates!r}'
        )
    for template in templates:
        if not has_places(template, ['']):
            count = template.count('{}')
            raise error(
                f'the template {template!r} has {count or "no"} '
                f'place{"s" * (count > 1)} {{}} for the name; it takes exactly one, '
                'and no other braces'
            )


def fill_template(template: str, names: Mapping[str, str]) -> str:
    """Put a name, whatever letters it has, into each place of a checked template."""
    return PLACE.sub(lambda place: names[place[1]], template)


def fill_templates(templates: Sequence[str], names: Sequence[str]) -> list[str]:
    """Put each name into the place ``{}`` of every template, name by name."""
    return [fill_template(t, {'': name}) for name in names for t in templates]


def in_markdown(value: object) -> str:
    """A name or text in a line of Markdown, or a cell of its tables: it can neither
    begin a tag, a link or a cell, nor end the line."""
    return re.sub(r'([\\`|<\[])', r'\\\1', shown(str(value)))


def as_code(value: object) -> str:
    """A name as code of Markdown, whatever marks it has."""
    words = shown(str(value))
    longest = max(map(len, re.findall('`+', words)), default=0)
    marks, space = '`' * (longest + 1), ' ' * bool(longest)
    return f'{marks}{space}{words}{space}{marks}'


def in_csv(value: Any) -> Any:
    """A cell of a csv: a text that spreadsheet programs would take for a formula gets
    an apostrophe before it, half a character is escaped; a number stays."""
    if not isinstance(value, str):
        return value
    formula = value.startswith(('=', '+', '-', '@', '\t', '\r'))
    return "'" * formula + value.encode('utf-8', 'backslashreplace').decode()
