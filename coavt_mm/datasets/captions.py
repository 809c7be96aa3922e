"""When two captions are the same, and sentences made from names."""

from collections import Counter
from collections.abc import Sequence

from coavt_mm.datasets.manifest import TEXT_KEYS
from coavt_mm.errors import CoAVTError, ConfigError


def normalise(text: str) -> str:
    """Captions that differ in case or spaces only are the same caption."""
    return ' '.join(text.lower().split())


def shared_captions(rows: Sequence[dict]) -> tuple[int, int]:
    """Texts that several clips carry in one field, and the clips that carry such.

    Args:
        rows (Sequence[dict]): Rows of a manifest.

    Returns:
        tuple: Number of texts, and of rows.
    """
    carriers = Counter(text for row in rows for text in _texts(row))
    shared = {text for text, clips in carriers.items() if clips > 1}
    return len(shared), sum(not shared.isdisjoint(_texts(row)) for row in rows)


def _texts(row: dict) -> set[tuple[str, str]]:
    """(field, normalised caption) of a clip, each once."""
    return {
        (key, normalise(text)) for key in TEXT_KEYS[:3] for text in row.get(key) or ()
    }


def check_templates(
    templates: Sequence[str], error: type[CoAVTError] = ConfigError
) -> None:
    """Refuse an empty list, and sentences without exactly one place ``{}``.

    Args:
        templates: Sentences with a place for a name, such as 'the sound of {}'.
        error: What is raised.

    Raises:
        CoAVTError: The message names the sentence.
    """
    if not templates or isinstance(templates, str):
        raise error(
            f'templates must be a list of one sentence or more, got {templates!r}'
        )
    for template in templates:
        places = template.count('{}')
        if places != 1:
            raise error(
                f'the template {template!r} has {places or "no"} '
                f'place{"s" * (places > 1)} {{}} for the name; it takes exactly one'
            )
        if template.count('{') + template.count('}') != 2:
            raise error(
                f'the template {template!r} has braces beside its one place {{}}; it '
                'takes no others'
            )


def fill_templates(templates: Sequence[str], names: Sequence[str]) -> list[str]:
    """Put names, whatever letters they have, into every template, name by name."""
    return [t.replace('{}', name) for name in names for t in templates]
