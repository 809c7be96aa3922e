"""What a tokenizer that comes with somebody's checkpoint may consist of.

The parts of a BERT tokenizer and no others: general rules, such as replacements or
regular expressions, can use up all memory or end the process on a single text.
"""

import json
from collections.abc import Mapping
from typing import Any

from coavt_mm.errors import CheckpointError

VERSION = '1.0'  # of the form that the library writes
MOST_PIECES = 1_000_000
MOST_ADDED = 1000
LONGEST = 100  # characters of an added token
LONGEST_WORD = 1000  # characters; the search for pieces is quadratic in it

SPECIAL_TOKENS = dict(
    unk_token='[UNK]',
    sep_token='[SEP]',
    pad_token='[PAD]',
    cls_token='[CLS]',
    mask_token='[MASK]',
)

Rules = Mapping[str, tuple[type, ...]]
_FLAG, _TEXT, _NUMBER = (bool,), (str,), (int,)

#: Part -> class -> its settings and their kinds.
PARTS: dict[str, dict[str, Rules]] = {
    'normalizer': {
        'BertNormalizer': dict(
            clean_text=_FLAG,
            handle_chinese_chars=_FLAG,
            strip_accents=(bool, type(None)),
            lowercase=_FLAG,
        )
    },
    'pre_tokenizer': {'BertPreTokenizer': {}},
    'post_processor': {
        'BertProcessing': dict(sep=(list,), cls=(list,)),
        'TemplateProcessing': dict(
            single=(list,), pair=(list,), special_tokens=(dict,)
        ),
    },
    'decoder': {'WordPiece': dict(prefix=_TEXT, cleanup=_FLAG)},
    'model': {
        'WordPiece': dict(
            unk_token=_TEXT,
            continuing_subword_prefix=_TEXT,
            max_input_chars_per_word=_NUMBER,
            vocab=(dict,),
        )
    },
}
_ADDED: Rules = dict(
    id=_NUMBER,
    content=_TEXT,
    single_word=_FLAG,
    lstrip=_FLAG,
    rstrip=_FLAG,
    normalized=_FLAG,
    special=_FLAG,
)


def checked_tokenizer(text: Any) -> str:
    """A serialised tokenizer, if it is a BERT's.

    Args:
        text: JSON, as ``serialise_tokenizer`` writes it.

    Returns:
        The same, with nothing in it that was not looked at.

    Raises:
        CheckpointError: The message says what is foreign or damaged.
    """
    try:
        if not isinstance(text, str):
            raise TypeError
        rules = json.loads(text)
        json.dumps(rules, ensure_ascii=False).encode()  # no half of a character
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f'it is no tokenizer in JSON ({type(error).__name__})'
        ) from error
    parts = dict.fromkeys(PARTS, (dict,))
    # truncation and padding are a state that somebody's call left behind
    whole = {k: v for k, v in _mapping(rules).items() if k not in _STATE}
    _check(whole, dict(parts, version=_TEXT, added_tokens=(list,)), 'the tokenizer')
    if whole['version'] != VERSION:
        raise CheckpointError(f'it is of version {whole["version"]!r:.60}')
    for part, classes in PARTS.items():
        settings = dict(whole[part])
        name = settings.pop('type', None)
        if not isinstance(name, str) or name not in classes:
            raise CheckpointError(
                f'its {part} {name!r:.60} is none of a BERT tokenizer '
                f'({", ".join(classes)})'
            )
        _check(settings, classes[name], f'its {part}')
    _check_model(whole['model'])
    frame = _frame(whole['post_processor'], _all_pieces(whole))
    return json.dumps(dict(whole, post_processor=frame, truncation=None, padding=None))


_STATE = ('truncation', 'padding')


def _mapping(node: Any) -> dict:
    if not isinstance(node, dict):
        raise CheckpointError(f'it is a {type(node).__name__} where settings belong')
    return node


def _check(given: Any, rules: Rules, where: str) -> None:
    """All settings are there, no others, each of its kind."""
    odd = sorted(_mapping(given).keys() ^ rules.keys())
    if odd:
        raise CheckpointError(
            f'{where} has {odd[0]!r:.60}, or lacks it; expected {", ".join(rules)}'
        )
    for name, kinds in rules.items():
        # exactly: True would pass for a number
        if type(given[name]) not in kinds:
            raise CheckpointError(f'{where}: {name} is a {type(given[name]).__name__}')


def _check_model(model: dict) -> None:
    longest = model['max_input_chars_per_word']
    if not 0 < longest <= LONGEST_WORD:
        raise CheckpointError(
            f'its words are to have up to {longest} characters, at most {LONGEST_WORD} '
            'are read'
        )
    for token in (model['unk_token'], *SPECIAL_TOKENS.values()):
        if token not in model['vocab']:
            raise CheckpointError(f'its vocabulary lacks {token!r:.60}')


def _all_pieces(rules: dict) -> dict[str, int]:
    """Piece -> id, of the vocabulary and of what was added: 0, 1, ... without gaps."""
    pieces, added = dict(rules['model']['vocab']), rules['added_tokens']
    if len(pieces) > MOST_PIECES or len(added) > MOST_ADDED:
        raise CheckpointError(
            f'it has {len(pieces)} pieces and {len(added)} added tokens, at most '
            f'{MOST_PIECES} and {MOST_ADDED} are read'
        )
    for token in added:
        _check(token, _ADDED, 'an added token')
        content = token['content']
        if not 0 < len(content) <= LONGEST or (
            pieces.setdefault(content, token['id']) != token['id']
        ):
            raise CheckpointError(
                f'its added token {content!r:.60} is empty, too long or has two ids'
            )
    ids = list(pieces.values())
    whole = all(type(number) is int for number in ids)
    if not whole or set(ids) != set(range(len(ids))):
        raise CheckpointError(
            f'the ids of its {len(pieces)} pieces are not 0 to {len(pieces) - 1}'
        )
    return pieces


def _frame(settings: dict, pieces: dict[str, int]) -> dict:
    """[CLS] before a text and [SEP] behind it, in either way of saying so."""
    ends = {token: pieces[token] for token in ('[CLS]', '[SEP]')}
    plain = dict(
        type='BertProcessing',
        sep=['[SEP]', ends['[SEP]']],
        cls=['[CLS]', ends['[CLS]']],
    )
    text = dict(Sequence=dict(id='A', type_id=0))
    first, last = (dict(SpecialToken=dict(id=end, type_id=0)) for end in ends)
    template = dict(
        type='TemplateProcessing',
        single=[first, text, last],
        pair=[],  # nobody encodes pairs
        special_tokens={
            end: dict(id=end, ids=[number], tokens=[end])
            for end, number in ends.items()
        },
    )
    if settings != plain and dict(settings, pair=[]) != template:
        raise CheckpointError('its post_processor is not [CLS], the text, [SEP]')
    return plain
