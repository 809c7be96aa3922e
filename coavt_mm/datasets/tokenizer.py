"""One BERT tokenizer per process and name."""

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import BertWordPieceTokenizer, Tokenizer

from coavt_mm.datasets.stored_tokenizer import SPECIAL_TOKENS, checked_tokenizer
from coavt_mm.errors import CheckpointError, ConfigError, DatasetMissingError
from coavt_mm.registry import TOKENIZERS

if TYPE_CHECKING:  # takes longer to import than torch
    from transformers import PreTrainedTokenizerBase

# BLIP-2's name of the token that starts a text to be generated.
DECODER_TOKEN = '[DEC]'

# Tokenizers that came as text, with a checkpoint: their names begin so.
STORED = 'stored:'
_stored: dict[str, str] = {}


def serialise_tokenizer(name_or_path: str) -> str:
    """The whole tokenizer as JSON: rules, word pieces and [DEC].

    Args:
        name_or_path: As of :func:`build_tokenizer`.
    """
    return build_rules(name_or_path).to_str()


def store_tokenizer(text: str) -> str:
    """Make a serialised tokenizer known to this process.

    Args:
        text: From :func:`serialise_tokenizer`; data, nothing of it is executed.

    Returns:
        A name for :func:`build_tokenizer`, made of the content.
    """
    name = STORED + hashlib.sha256(text.encode('utf-8')).hexdigest()[:16]
    _stored[name] = text
    return name


def _from_text(name: str) -> Tokenizer:
    if name not in _stored:
        raise DatasetMissingError(
            f'tokenizer {name} came with a checkpoint that this process has not read'
        )
    try:
        rules = Tokenizer.from_str(checked_tokenizer(_stored[name]))
    except CheckpointError as error:
        raise DatasetMissingError(
            f'tokenizer {name}: not readable ({error})'
        ) from error
    rules.add_special_tokens([*SPECIAL_TOKENS.values()])
    return rules


def _from_vocabulary(path: Path) -> Tokenizer:
    """Read an uncased WordPiece vocabulary, one piece a line."""
    pieces: dict[str, int] = {}
    lines = path.read_text(encoding='utf-8').removesuffix('\n').split('\n')
    for number, line in enumerate(lines):
        piece = line.rstrip()
        if pieces.setdefault(piece, number) != number:
            raise DatasetMissingError(
                f'{path}:{number + 1}: the piece {piece!r:.60} is also that of line '
                f'{pieces[piece] + 1}; ids would be above the number of pieces'
            )
    missing = [token for token in SPECIAL_TOKENS.values() if token not in pieces]
    if missing:
        raise DatasetMissingError(
            f'{path} is no BERT vocabulary: it lacks {", ".join(missing)}'
        )
    return BertWordPieceTokenizer(pieces, lowercase=True)._tokenizer


def _load(name_or_path: str) -> 'Tokenizer | PreTrainedTokenizerBase':
    if name_or_path.startswith(STORED):
        return _from_text(name_or_path)
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return _from_vocabulary(path)
    if path.is_dir():
        if not (path / 'tokenizer.json').is_file() and (path / 'vocab.txt').is_file():
            return _from_vocabulary(path / 'vocab.txt')
        return _from_pretrained(str(path))
    if path.is_absolute() or name_or_path.count('/') > 1 or path.suffix:
        raise DatasetMissingError(
            f'tokenizer {name_or_path}: no such file or directory (looked in '
            f'{Path.cwd()}); give a directory, a vocab.txt or a hub id'
        )
    return _from_hub(name_or_path)


def _from_hub(name: str) -> 'PreTrainedTokenizerBase':
    """From the hub's cache on this machine; if it is not there, from the hub."""
    from coavt_mm.datasets.hub import check_reachable

    return _from_pretrained(str(check_reachable(name) or name))


def _from_pretrained(name_or_path: str) -> 'PreTrainedTokenizerBase':
    from transformers import AutoTokenizer

    # never code that comes with a tokenizer, and no question whether to run it
    tokenizer = AutoTokenizer.from_pretrained(
        name_or_path, use_fast=True, trust_remote_code=False
    )
    if not tokenizer.is_fast:
        raise ValueError('it has no tokenizer.json, and none can be made of its files')
    return tokenizer


def _read(name_or_path: str) -> 'Tokenizer | PreTrainedTokenizerBase':
    try:
        return _load(name_or_path)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DatasetMissingError(f'tokenizer {name_or_path}: {reason}') from error


@TOKENIZERS.register_module('WordPieces')
@cache
def build_tokenizer(name_or_path: str) -> 'PreTrainedTokenizerBase':
    """Build a BERT tokenizer of transformers' kind, with BLIP-2's [DEC] as
    ``bos_token``.

    A vocabulary that has [DEC] already keeps its ids; otherwise it gets the next free
    id, so the model's table needs ``len(tokenizer)`` rows.

    Args:
        name_or_path: Local directory, vocabulary file, or hub id; what the hub's cache
            holds is taken from there.

    Returns:
        The tokenizer, the same object for the same name.

    Raises:
        DatasetMissingError: Nothing is there and the hub can't be reached.
    """
    tokenizer: Any = _read(name_or_path)
    if isinstance(tokenizer, Tokenizer):
        from transformers import PreTrainedTokenizerFast

        # the arguments of its BertTokenizerFast differ between releases 4 and 5
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, **SPECIAL_TOKENS
        )
    tokenizer.add_special_tokens({'bos_token': DECODER_TOKEN})
    return tokenizer


@TOKENIZERS.register_module('WordPieceRules')
@cache
def build_rules(name_or_path: str) -> Tokenizer:
    """The rules and word pieces of :func:`build_tokenizer`, for :func:`encode_text`.

    They neither truncate nor pad, and never will: tokenizers keeps both as a state,
    which a call of transformers' tokenizer sets, under the hands of other threads and
    of models with another length.

    Args:
        name_or_path: As of :func:`build_tokenizer`.
    """
    found = _read(name_or_path)
    rules = found if isinstance(found, Tokenizer) else found.backend_tokenizer
    rules.add_special_tokens([DECODER_TOKEN])
    rules.no_truncation()
    rules.no_padding()
    return rules


def check_max_tokens(rules: Tokenizer, max_tokens: int) -> None:
    """Refuse a length without room for the tokens that every text gets.

    Raises:
        ConfigError: If there is none.
    """
    least = rules.num_special_tokens_to_add(is_pair=False)
    if not isinstance(max_tokens, int) or max_tokens < least:
        raise ConfigError(
            f'max_tokens={max_tokens!r} must be a whole number of at least {least}: '
            '[CLS] and [SEP] count too'
        )


def encode_text(rules: Tokenizer, text: str, max_tokens: int) -> list[int]:
    """Ids ``[CLS] ... [SEP]`` of a text; what exceeds ``max_tokens`` is cut before
    [SEP], as transformers does with ``truncation=True``. Safe in threads.

    Args:
        rules: From :func:`build_rules`.
        text: Any text.
        max_tokens: Longest text in tokens, [CLS] and [SEP] included.
    """
    words = rules.encode(text, add_special_tokens=False)
    words.truncate(max_tokens - rules.num_special_tokens_to_add(is_pair=False))
    return rules.post_process(words).ids


def lost_words(rules: Tokenizer, text: str, max_tokens: int) -> tuple[list[str], str]:
    """What :func:`encode_text` loses of a text.

    Args:
        rules: From :func:`build_rules`.
        text: Any text.
        max_tokens: Longest text in tokens, [CLS] and [SEP] included.

    Returns:
        The words that become [UNK], each once, and the end that is cut off.
    """
    words = rules.encode(text, add_special_tokens=False)
    room = max_tokens - rules.num_special_tokens_to_add(is_pair=False)
    unknown = getattr(rules.model, 'unk_token', None)
    places = zip(words.tokens[:room], words.offsets, strict=False)
    lost = [text[slice(*place)] for token, place in places if token == unknown]
    cut = text[words.offsets[room][0] :] if len(words.ids) > room else ''
    return list(dict.fromkeys(lost)), cut
