"""Errors written for the person who reads them: what, where, what to do."""

import unicodedata

JOINERS = '\u200c\u200d'  # invisible letters that scripts and emoji need


class CoAVTError(Exception):
    """Base of all errors that a user can mend; tools print it as one line."""


class ConfigError(CoAVTError):
    """A setting is unknown, mistyped or contradicts another one."""


class DatasetMissingError(CoAVTError):
    """A data set, manifest or tokenizer is not where the config says."""


class ManifestError(CoAVTError):
    """A manifest row can't be read; the message names file and line."""


class ClipError(CoAVTError):
    """A clip can't be decoded as asked; the message names the file."""


class CheckpointError(CoAVTError):
    """A checkpoint is of another kind, damaged, or unsafe to load."""


class TrainingError(CoAVTError):
    """A training can't go on as it is; its checkpoints are good."""


class SearchError(CoAVTError):
    """A search index is missing, damaged, in use, or of another model."""


class InputError(CoAVTError):
    """What was handed to a function is of a kind or shape that it doesn't take."""


def shown(text: str) -> str:
    """A name as a terminal or a log may show it: it can neither steer the one nor break
    the encoding of the other.

    Args:
        text: Such as a file's name, of which anybody may be the author.

    Returns:
        The text, with control characters, marks of direction and bytes that are no
        UTF-8 escaped.
    """
    if text.isascii() and text.isprintable():  # nearly all are; it is asked for often
        return text
    return ''.join(
        _escaped(letter)
        if unicodedata.category(letter) in ('Cc', 'Cf', 'Cs', 'Zl', 'Zp')
        and letter not in JOINERS
        else letter
        for letter in text
    )


def _escaped(letter: str) -> str:
    if '\udc80' <= letter <= '\udcff':  # how Python keeps a byte that is no UTF-8
        return f'\\x{ord(letter) - 0xDC00:02x}'
    return letter.encode('unicode_escape').decode()
