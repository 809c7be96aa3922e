"""The factors of a clip, the captions that name them, and the way back."""

import re
from collections.abc import Iterable
from itertools import product

import numpy as np

#: factor -> class name -> the words a caption may use for it. No word or phrase
#: belongs to two classes, so a caption can be read back.
FACTORS: dict[str, dict[str, tuple[str, ...]]] = {
    'shape': {
        'circle': ('circle', 'disc'),
        'square': ('square', 'box'),
        'triangle': ('triangle',),
        'star': ('star',),
        'cross': ('cross', 'plus'),
        'ring': ('ring', 'hoop'),
    },
    'colour': {
        'red': ('red', 'scarlet'),
        'green': ('green',),
        'blue': ('blue',),
        'yellow': ('yellow', 'golden'),
        'pink': ('pink', 'magenta'),
        'cyan': ('cyan', 'turquoise'),
    },
    'place': {
        'top left': ('top left', 'upper left'),
        'top right': ('top right', 'upper right'),
        'bottom left': ('bottom left', 'lower left'),
        'bottom right': ('bottom right', 'lower right'),
    },
    'ground': {
        'light ground': ('light', 'bright'),
        'dark ground': ('dark', 'black'),
    },
    'timbre': {
        'flute': ('flute', 'whistle'),
        'clarinet': ('clarinet', 'reed'),
        'trumpet': ('trumpet', 'horn'),
        'bell': ('bell', 'chime'),
        'wind': ('wind', 'hiss'),
        'buzzer': ('buzzer',),
    },
    'contour': {
        'rising': ('rising', 'climbing'),
        'falling': ('falling', 'sinking'),
        'steady': ('steady', 'level'),
        'wobbling': ('wobbling', 'wavering'),
    },
    'count': {
        'once': ('once', 'a single time'),
        'twice': ('twice', 'two times'),
        'four times': ('four times',),
    },
}
VISUAL_FACTORS = ('shape', 'colour', 'place', 'ground')
AUDIO_FACTORS = ('timbre', 'contour', 'count')

VISUAL_TEMPLATES = (
    'a {colour} {shape} moves in the {place} on a {ground} ground',
    'a {colour} {shape} drifts at the {place} of a {ground} background',
    'on a {ground} background a {colour} {shape} moves at the {place}',
    'in the {place} of a {ground} scene there is a {colour} {shape}',
    'the {shape} in the {place} is {colour} , the ground is {ground}',
)
AUDIO_TEMPLATES = (
    'a {contour} {timbre} sounds {count}',
    'a {timbre} plays a {contour} note {count}',
    'a {contour} note of a {timbre} is heard {count}',
    '{count} a {timbre} plays a {contour} tone',
    'the sound of a {contour} {timbre} comes {count}',
)
FULL_TEMPLATES = (
    '{visual} while {audio}',
    '{visual} and {audio}',
    '{visual} , {audio}',
    '{audio} while {visual}',
    '{audio} and {visual}',
    '{audio} as {visual}',
)
TEMPLATES = {'A': AUDIO_TEMPLATES, 'V': VISUAL_TEMPLATES}
SPECIAL_TOKENS = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '[DEC]')

#: all 288 pictures and all 72 sounds, as tuples of class names in factor order
PICTURES = tuple(product(*(FACTORS[name] for name in VISUAL_FACTORS)))
SOUNDS = tuple(product(*(FACTORS[name] for name in AUDIO_FACTORS)))

_PHRASES = {
    phrase: (factor, value)
    for factor, values in FACTORS.items()
    for value, phrases in values.items()
    for phrase in phrases
}
_PHRASE_PATTERN = re.compile(
    r'\b('
    + '|'.join(
        re.escape(phrase).replace(r'\ ', r'\s+')
        for phrase in sorted(_PHRASES, key=len, reverse=True)
    )
    + r')\b'
)


def class_names(factors: Iterable[str] = FACTORS) -> list[str]:
    """Return the class names of some factors, by default all 31, in this order."""
    return [value for name in factors for value in FACTORS[name]]


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _half_caption(values: dict[str, str], stream: str, rng: np.random.Generator) -> str:
    names = VISUAL_FACTORS if stream == 'V' else AUDIO_FACTORS
    words = {name: _pick(rng, FACTORS[name][values[name]]) for name in names}
    return _pick(rng, TEMPLATES[stream]).format(**words)


def caption(values: dict[str, str], stream: str, rng: np.random.Generator) -> str:
    """Write one caption of a clip.

    Args:
        values: Factor -> class name, all seven.
        stream: What the caption is about: ``'AV'``, ``'A'`` or ``'V'``.
        rng: Source of the template and of the synonyms.

    Returns:
        A lower-case sentence without a full stop.
    """
    if stream != 'AV':
        return _half_caption(values, stream, rng)
    halves = {
        'visual': _half_caption(values, 'V', rng),
        'audio': _half_caption(values, 'A', rng),
    }
    return _pick(rng, FULL_TEMPLATES).format(**halves)


def paraphrases(
    values: dict[str, str], stream: str, number: int, rng: np.random.Generator
) -> list[str]:
    """Write ``number`` different captions of one clip; see :func:`caption`."""
    found: list[str] = []
    while len(found) < number:
        text = caption(values, stream, rng)
        if text not in found:
            found.append(text)
    return found


def parse_caption(text: str) -> dict[str, str]:
    """Read the factors back out of a caption.

    Args:
        text: Any text; letter case does not matter.

    Returns:
        Factor -> class name. A factor that the text does not name, or names with
        two different values, is absent.
    """
    named: dict[str, set] = {}
    for match in _PHRASE_PATTERN.finditer(text.lower()):
        factor, value = _PHRASES[' '.join(match.group(1).split())]
        named.setdefault(factor, set()).add(value)
    return {
        factor: next(iter(named[factor]))
        for factor in FACTORS
        if len(named.get(factor, ())) == 1
    }


def vocabulary() -> list[str]:
    """List the pieces of a WordPiece vocabulary that covers the grammar.

    The grammar is closed, so its words are the vocabulary: the same for every seed
    and size, which keeps checkpoints of different demo sets interchangeable.

    Returns:
        Special tokens (``[PAD]`` has id 0), then the words in alphabetical order.
    """
    texts = [*_PHRASES, *VISUAL_TEMPLATES, *AUDIO_TEMPLATES, *FULL_TEMPLATES]
    plain = re.sub(r'\{\w+\}', ' ', ' '.join(texts))
    return [*SPECIAL_TOKENS, *sorted(set(re.findall(r'\w+|[^\w\s]', plain)))]
