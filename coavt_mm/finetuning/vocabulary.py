"""Word pieces for captions: a vocabulary of one's own, or more of a checkpoint's."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import BertWordPieceTokenizer, Tokenizer
from transformers import PreTrainedTokenizerFast

from coavt_mm.datasets.stored_tokenizer import SPECIAL_TOKENS
from coavt_mm.datasets.tokenizer import (
    DECODER_TOKEN,
    build_rules,
    build_tokenizer,
    serialise_tokenizer,
)

# [PAD] has id 0; further pieces go behind what is there, so that ids stay
_FIRST = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', DECODER_TOKEN)
MOST_PIECES = 8000
#: What occurs less often gets no piece of its own; letters always do.
LEAST_COUNT = 2


def train_pieces(captions: Iterable[str], folder: str | Path) -> str:
    """Make an uncased WordPiece vocabulary of captions, as BERT's were made.

    Args:
        captions: Those of training alone.
        folder: Where the tokenizer goes.

    Returns:
        The folder, for :func:`~coavt_mm.datasets.tokenizer.build_tokenizer`.
    """
    pieces = _learnt(captions, _FIRST)
    # made anew: [CLS] and [SEP] around a text come with a vocabulary that is there
    return _save(BertWordPieceTokenizer(pieces, lowercase=True)._tokenizer, folder)


def _learnt(texts: Iterable[str], special: Iterable[str]) -> dict[str, int]:
    """Piece -> id."""
    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(
        texts,
        vocab_size=MOST_PIECES,
        min_frequency=LEAST_COUNT,
        special_tokens=[*special],
        show_progress=False,
    )
    return tokenizer.get_vocab()


def unknown_words(tokenizer: str, texts: Iterable[str]) -> Counter[str]:
    """Count the words of texts that a tokenizer doesn't know.

    Args:
        tokenizer: Name or path.
        texts: Any texts.

    Returns:
        Word, as the tokenizer splits and folds it -> how often it occurs.
    """
    rules = build_rules(tokenizer)
    model, normalizer, splitter = rules.model, rules.normalizer, rules.pre_tokenizer
    counts: Counter[str] = Counter()
    for text in texts:
        if normalizer is not None:
            text = normalizer.normalize_str(text)
        counts.update(word for word, _ in splitter.pre_tokenize_str(text))
    unknown = build_tokenizer(tokenizer).unk_token
    return Counter(
        {
            word: count
            for word, count in counts.items()
            if any(token.value == unknown for token in model.tokenize(word))
        }
    )


def extend_pieces(
    tokenizer: str, captions: Iterable[str], folder: str | Path
) -> tuple[str, int]:
    """Give a tokenizer pieces for the words of captions that it doesn't know.

    What it knows keeps its ids, and is cut into the same pieces.

    Args:
        tokenizer: Name or path.
        captions: Those of training alone.
        folder: Where the new tokenizer goes, if it is one.

    Returns:
        The name or path of the tokenizer to use, and how many pieces are new.
    """
    words = unknown_words(tokenizer, captions)
    rules = json.loads(serialise_tokenizer(tokenizer))
    pieces = rules['model']['vocab']
    # an added token keeps its id only if the vocabulary has it, too
    pieces.update({token['content']: token['id'] for token in rules['added_tokens']})
    repeated = (word for word, count in words.items() for _ in range(count))
    learnt = _learnt(repeated, ['[UNK]'])
    new = [p for p in sorted(learnt, key=learnt.__getitem__) if p not in pieces]
    if not words or not new:
        return tokenizer, 0
    first = len(pieces)
    pieces.update({piece: first + place for place, piece in enumerate(new)})
    return _save(Tokenizer.from_str(json.dumps(rules)), folder), len(new)


def _save(rules: Tokenizer, folder: str | Path) -> str:
    for known in (build_tokenizer, build_rules):  # by path: an earlier job's in it
        known.cache_clear()
    PreTrainedTokenizerFast(tokenizer_object=rules, **SPECIAL_TOKENS).save_pretrained(
        folder
    )
    return str(folder)
