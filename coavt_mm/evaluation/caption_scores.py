"""BLEU, ROUGE-L, CIDEr-D and METEOR of captions, as pycocoevalcap computes them.

Two tokenisations, and never one in place of the other: 'ptb' is Stanford's, which all
published numbers use, and needs Java; 'words' needs none.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from coavt_mm.errors import CoAVTError, ConfigError

TOKENIZERS = ('ptb', 'words')
#: In the order of tables. All from 0 to 1, but CIDEr-D from 0 to 10.
SCORES = ('BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4', 'ROUGE-L', 'CIDEr-D', 'METEOR')
# Both programs read and write numbers and letters as the locale has them.
_LOCALE = ('-Duser.language=en', '-Duser.country=US', '-Dfile.encoding=UTF-8')
_METEOR_MEMORY = '-Xmx2G'
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def check_scoring(tokenizer: str) -> None:
    """See that captions can be scored here, before hours are spent on writing them.

    Args:
        tokenizer: 'ptb' or 'words'.

    Raises:
        ConfigError: If the name is unknown, pycocoevalcap or Java is missing, or Java
            does not run.
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
    if tokenizer == 'ptb':
        _check_java(shutil.which('java'))


@cache
def _check_java(path: str) -> None:
    """Let both programs begin; METEOR's tables, which take long, are not read yet."""
    try:
        _tokenize_ptb([['a dog barks']])
        _run_java('METEOR', [_METEOR_MEMORY, '-version'])
    except CoAVTError as error:
        raise ConfigError(
            f"{error}. tokenizer='words' does without Java and METEOR"
        ) from error


def caption_scores(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenizer: str = 'ptb',
    problems: list[str] | None = None,
) -> dict[str, float | None]:
    """Score one caption a clip against the references of the clip.

    CIDEr-D weighs words by how few of the clips' references have them, so it depends
    on all clips together, and is 0 for a single one.

    Args:
        predictions: (B,) one written caption a clip; '' counts, as one without words.
        references: (B,) at least one true caption a clip.
        tokenizer: 'ptb' or 'words'.
        problems: Takes a line about METEOR if that fails, so that the other scores are
            kept. Without it this is an error.

    Returns:
        The :data:`SCORES`; METEOR is None with 'words', where it has no Java to run,
        and where it failed.

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
    scores: dict[str, float | None] = {**_word_scores(true, written), 'METEOR': None}
    if tokenizer == 'ptb':
        try:
            scores['METEOR'] = _meteor(true, written)
        except CoAVTError as error:
            if problems is None:
                raise
            problems.append(str(error))
    return scores


def _tokenize_words(texts: Sequence[Sequence[str]]) -> dict[int, list[str]]:
    """Lower case, words and numbers kept, punctuation dropped."""
    return {
        i: [' '.join(_WORD.findall(text.lower())) for text in group]
        for i, group in enumerate(texts)
    }


def _tokenize_ptb(texts: Sequence[Sequence[str]]) -> dict[int, list[str]]:
    """Stanford's Penn Treebank tokeniser; lower case, punctuation dropped.

    Run by itself, not by pycocoevalcap, which writes a file into its own folder.
    """
    from pycocoevalcap.tokenizer import ptbtokenizer

    # one caption a line: whatever breaks lines becomes a space
    lines = [' '.join(text.split()) for group in texts for text in group]
    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    command = ['-cp', str(jar), 'edu.stanford.nlp.process.PTBTokenizer']
    command += ['-preserveLines', '-lowerCase', '-encoding', 'UTF-8']
    text = ''.join(f'{line}\n' for line in lines)
    answer = _run_java('the PTB tokeniser', command, text)
    found = [
        ' '.join(w for w in line.split(' ') if w not in ptbtokenizer.PUNCTUATIONS)
        for line in map(str.rstrip, answer.split('\n')[:-1])
    ]
    lost = [
        line
        for line, words in zip(lines, found, strict=False)
        if _WORD.search(line) and not words
    ]
    if lost or len(found) != len(lines):
        raise CoAVTError(
            f'the PTB tokeniser lost words of {(lost or lines)[0]!r:.60}: Java failed; '
            'try `java -version`'
        )
    each = iter(found)
    return {i: [next(each) for _ in group] for i, group in enumerate(texts)}


def _run_java(what: str, arguments: Sequence[str], text: str = '') -> str:
    """What a program makes of a text.

    Raises:
        CoAVTError: It can't be run, or fails; with the last line that it said.
    """
    try:
        done = subprocess.run(
            ['java', *_LOCALE, *arguments],
            input=text,
            capture_output=True,
            encoding='utf-8',
            errors='replace',
            env=_environment(),
        )
    except OSError as error:
        raise CoAVTError(f'{what} can not run: {error}') from error
    if done.returncode:
        raise CoAVTError(
            f'{what}: Java failed with status {done.returncode}{_last(done.stderr)}'
        )
    return done.stdout


def _environment() -> dict[str, str]:
    return dict(os.environ, LC_ALL='C.UTF-8')


def _last(said: str) -> str:
    """The first line of an error is what happened; the rest is where."""
    lines = [line for line in said.splitlines() if line.strip()]
    named = [line for line in lines if 'rror' in line or 'xception' in line]
    return f' ({(named or lines)[0].strip():.200})' if lines else ''


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
    """METEOR's own program: a line of counts for each caption, then a score of all."""
    from pycocoevalcap.meteor import meteor

    jar = Path(meteor.__file__).with_name(meteor.METEOR_JAR)
    command = ['java', *_LOCALE, _METEOR_MEMORY, '-jar', str(jar)]
    command += ['-', '-', '-stdio', '-l', 'en', '-norm']
    # a file for what it says: a pipe that nobody reads would stop it
    with tempfile.TemporaryFile() as said:
        try:
            with subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=_environment(),
            ) as program:
                try:
                    return _ask_meteor(program, true, written)
                finally:
                    program.kill()
        except (OSError, ValueError) as error:
            said.seek(0)
            reason = _last(said.read().decode('utf-8', 'replace')) or f' ({error})'
            raise CoAVTError(
                f'METEOR of pycocoevalcap failed{reason}; it needs Java and 2 GB of '
                'memory'
            ) from error


def _ask_meteor(program: subprocess.Popen, true: dict, written: dict) -> float:
    assert program.stdin is not None and program.stdout is not None
    stdin, stdout = program.stdin, program.stdout

    def ask(line: str) -> str:
        stdin.write(f'{line}\n'.encode())
        return answer()

    def answer() -> str:
        return stdout.readline().decode().strip()

    counts = []
    for i, group in true.items():
        # the program separates its fields by |||
        fields = [text.replace('|||', '').replace('  ', ' ') for text in written[i]]
        references = [text.replace('|||', '') for text in group]
        counts.append(ask(' ||| '.join(['SCORE', *references, *fields])))
    first = ask(' ||| '.join(['EVAL', *counts]))
    each = [float(first), *(float(answer()) for _ in counts)]
    return each[-1]
