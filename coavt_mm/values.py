"""The values of ``--cfg-options KEY=VALUE``, as mmengine reads them, blanks kept.

``1,2``, ``[1, 2]``, ``(a, b)`` and ``[(1, 2), [a]]`` are lists and tuples, ``{'a': 1}``
a dictionary; numbers, true, false and None are what they look like, all else is text.
Quotes keep a text together that has commas or brackets.
"""

import ast
import os.path as osp
from collections.abc import Iterable, Iterator
from typing import Any

_WORDS = {'true': True, 'false': False}
_PAIRS = {'(': ')', '[': ']', '{': '}'}


def read_value(text: str) -> Any:
    """Read a value.

    Args:
        text: What stands behind ``KEY=``.

    Returns:
        A number, a bool, None, text, or a list, tuple or dictionary of such.

    Raises:
        ValueError: If a list has a bracket too many or too few.
    """
    text = text.strip()
    inner = _unquoted(text)
    if inner != text:
        # shells that keep quotes hand a quoted list on as it is
        return read_value(inner) if _is_enclosed(inner) else _single(inner)
    if osp.exists(text) and len(text) > 1:  # such as '/data/clips (a, b)'
        return _single(text)
    if text.startswith('{') and text.endswith('}'):
        return _dictionary(text)
    is_enclosed = _is_enclosed(text)
    items = [*_split(text[1:-1] if is_enclosed else text)]
    if not is_enclosed and len(items) == 1 and text[-1:] != ',':
        return _single(text)
    values = [read_value(item) for item in items if item.strip()]
    return tuple(values) if text.startswith('(') and is_enclosed else values


def read_settings(given: Iterable[str]) -> dict[str, Any]:
    """Read settings.

    Args:
        given: ``KEY=VALUE`` each.

    Returns:
        Key -> value.

    Raises:
        ValueError: If one is not so; the message says which.
    """
    settings = {}
    for setting in given:
        key, equals, value = setting.partition('=')
        if not key or not equals:
            raise ValueError(f'{setting!r} is not KEY=VALUE')
        try:
            settings[key] = read_value(value)
        except ValueError as error:
            raise ValueError(f'{setting}: {error}') from error
    return settings


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in '\'"'
    return text[1:-1] if quoted and text[0] not in text[1:-1] else text


def _is_enclosed(text: str) -> bool:
    """Whether the first bracket ends with the last letter."""
    if text[:1] not in ('(', '[') or text[-1:] != _PAIRS[text[0]]:
        return False
    return len([*_split(text, by='')]) == 1


def _split(text: str, by: str = ',') -> Iterator[str]:
    """Parts between commas, or bracketed ones, outside of quotes and brackets."""
    waiting: list[str] = []
    begin, quote = 0, ''
    for place, letter in enumerate(text):
        if quote:
            quote = '' if letter == quote else quote
        elif letter in '\'"' and text[begin:place].strip() in ('', *_PAIRS):
            quote = letter if letter in text[place + 1 :] else ''
        elif letter in _PAIRS:
            waiting.append(_PAIRS[letter])
        elif waiting and letter == waiting[-1]:
            waiting.pop()
            if not by and not waiting:
                yield text[begin : place + 1]
                begin = place + 1
        elif letter == by and not waiting:
            yield text[begin:place]
            begin = place + 1
    if waiting and text[:1] in _PAIRS:
        raise ValueError(f'{waiting[-1]!r} is missing')
    if begin < len(text) or not text:
        yield text[begin:]


def _dictionary(text: str) -> dict:
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            "a dictionary is written as in Python, with quotes: {'name': 1.0}"
        ) from error
    if not isinstance(value, dict):
        raise ValueError(f'{text} is a {type(value).__name__}, no dictionary')
    return value


def _single(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None if text == 'None' else _WORDS.get(text.lower(), text)
