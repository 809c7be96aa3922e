"""BLEU, ROUGE-L, CIDEr-D and METEOR of captions, as pycocoevalcap computes them.

Two tokenisations, and never one in place of the other: 'ptb' is Stanford's, which all
published numbers use, and needs Java; 'words' needs none.
"""

import re
import shutil
from collections.abc import Sequence
from importlib.util import find_spec

from ..errors import CoAVTError, ConfigError

TOKENIZERS = ('ptb', 'words')
#: In the order of tables. All from 0 to 1, but CIDEr-D from 0 to 10.
SCORES = ('BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4', 'ROUGE-L', 'CIDEr-D', 'METEOR')
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def check_scoring(tokenizer: str) -> None:
    """See that captions can be scored here, before hours are spent on writing them.

    Args:
        tokenizer: 'ptb' or 'words'.

    Raises:
        ConfigError: If the name is unknown, pycocoevalcap or Java is missing.
    """
    if tokenizer not in TOKENIZERS:
        raise ConfigError(f'tokenizer {tokenizer!r} is none of {TOKENIZERS}')
    if find_spec('pycocoevalcap') is None:
        raise ConfigError(
            'caption scores need pycocoevalcap: `pip install "coavt-mm[caption]"`, or '
            '`pip install "pycocoevalcap>=1.2,<2"`'
        )
    if tokenizer == 'ptb' and shutil.which('java') is None:
        raise ConfigError(
            "tokenizer='ptb' and METEOR need Java, and there is no `java` on the PATH: "
            'install a Java runtime (on Debian and Ubuntu: apt install '
            "default-jre-headless), or set tokenizer='words', whose numbers are close "
            'to those published but not comparable to the last digit, without METEOR'
        )


def caption_scores(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenizer: str = 'ptb',
) -> dict[str, float | None]:
    """Score one caption a clip against the references of the clip.

    CIDEr-D weighs words by how few of the clips' references have them, so it depends
    on all clips together, and is 0 for a single one.

    Args:
        predictions: (B,) one written caption a clip; '' counts, as one without words.
        references: (B,) at least one true caption a clip.
        tokenizer: 'ptb' or 'words'.

    Returns:
        The :data:`SCORES`; METEOR is None with 'words', where it has no Java to run.

    Raises:
        ConfigError: See :func:`check_scoring`.
        CoAVTError: If there is no clip, a clip has no reference, or a Java program
            failed.
    """
    check_scoring(tokenizer)
    if not predictions:
        raise CoAVTError('there are no captions to score')
    if not all(references):
        bare = next(i for i, texts in enumerate(references) if not texts)
        raise CoAVTError(f'caption {bare} has no reference to be scored against')
    tokenize = _tokenize_ptb if tokenizer == 'ptb' else _tokenize_words
    written = tokenize([[text] for text in predictions])
    true = tokenize(references)
    scores = _word_scores(true, written)
    scores['METEOR'] = _meteor(true, written) if tokenizer == 'ptb' else None
    return scores


def _tokenize_words(texts: Sequence[Sequence[str]]) -> dict[int, list[str]]:
    """Lower case, words and numbers kept, punctuation dropped."""
    return {
        i: [' '.join(_WORD.findall(text.lower())) for text in group]
        for i, group in enumerate(texts)
    }


def _tokenize_ptb(texts: Sequence[Sequence[str]]) -> dict[int, list[str]]:
    """Stanford's Penn Treebank tokeniser; lower case, punctuation dropped."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    # one caption a line: whatever breaks lines becomes a space
    lines = {
        i: [{'caption': ' '.join(text.split())} for text in group]
        for i, group in enumerate(texts)
    }
    try:
        tokens = PTBTokenizer().tokenize(lines)
    except OSError as error:
        raise CoAVTError(
            f'the PTB tokeniser of pycocoevalcap could not run ({error}); it writes a '
            'temporary file into its own folder and needs Java'
        ) from error
    for i, group in enumerate(texts):
        found = tokens.get(i, [])
        if len(found) != len(group) or any(
            _WORD.search(text) and not words
            for text, words in zip(group, found, strict=True)
        ):
            raise CoAVTError(
                f'the PTB tokeniser lost words of {list(group)}: Java failed; see its '
                'message above, and try `java -version`'
            )
    return tokens


def _word_scores(true: dict, written: dict) -> dict[str, float]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    bleu, _ = Bleu(4).compute_score(true, written, verbose=0)
    scores = {f'BLEU-{n}': float(score) for n, score in enumerate(bleu, 1)}
    scores['ROUGE-L'] = float(Rouge().compute_score(true, written)[0])
    scores['CIDEr-D'] = float(Cider().compute_score(true, written)[0])
    return scores


def _meteor(true: dict, written: dict) -> float:
    from pycocoevalcap.meteor.meteor import Meteor

    # the program separates references by |||
    true = {i: [text.replace('|||', '') for text in group] for i, group in true.items()}
    meteor = Meteor()
    try:
        return float(meteor.compute_score(true, written)[0])
    except (OSError, ValueError) as error:
        meteor.lock.release()  # else its destructor waits for ever
        raise CoAVTError(
            f'METEOR of pycocoevalcap failed ({error}); it needs Java with 2 GB of '
            "memory. tokenizer='words' does without"
        ) from error
