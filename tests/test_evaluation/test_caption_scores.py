import csv
import math
import os
import shutil

import pytest

from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation import caption_scores as module
from coavt_mm.evaluation.caption_scores import SCORES, caption_scores, check_scoring

pytest.importorskip('pycocoevalcap', reason='pycocoevalcap (extra `caption`) is absent')
needs_java = pytest.mark.skipif(
    shutil.which('java') is None, reason='PTB tokens and METEOR need a Java runtime'
)
EXAMPLE = os.environ.get('AAC_METRICS_EXAMPLE')

WRITTEN = ['A dog barks, twice!', 'a man speaks', 'rain falls on the roof']
TRUE = [
    ['a dog barks twice', "the dog's barking"],
    ['a man is speaking', 'somebody speaks', 'a man speaks while rain falls'],
    ['rain falls on a roof'],
]


def test_values_by_hand():
    scores = caption_scores(['A dog barks!'], [['a dog barks loudly']], 'words')
    brevity = math.exp(1 - 4 / 3)  # all n-grams are right, but a word is missing
    for n in (1, 2, 3):
        assert scores[f'BLEU-{n}'] == pytest.approx(brevity, rel=1e-6)
    precision, recall = 1, 3 / 4
    rouge = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)
    assert scores['ROUGE-L'] == pytest.approx(rouge)
    assert scores['CIDEr-D'] == 0  # one clip: no word tells clips apart
    assert scores['METEOR'] is None
    assert tuple(scores) == SCORES


def test_cider_by_hand():
    """Two clips, single words: tf-idf vectors whose cosine and length penalty are
    easy; n-grams of 2 to 4 words do not exist and count 0."""
    scores = caption_scores(['dog', 'cat'], [['dog'], ['rain']], 'words')
    assert scores['CIDEr-D'] == pytest.approx((10 * 1 / 4 + 0) / 2)


def test_perfect_and_empty_captions():
    references = [['a red bird sings a song'], ['two people are clapping loudly']]
    perfect = caption_scores([texts[0] for texts in references], references, 'words')
    assert perfect['BLEU-4'] == pytest.approx(1, abs=1e-6)
    assert perfect['ROUGE-L'] == pytest.approx(1)
    assert perfect['CIDEr-D'] == pytest.approx(10)
    empty = caption_scores(['', '...'], references, 'words')
    assert all(empty[name] < 1e-6 for name in SCORES if name != 'METEOR')


def test_words_drops_case_and_punctuation_only():
    tokens = module._tokenize_words([["It's a well-known dog; 2 cats!", 'naïve Über']])
    assert tokens == {0: ["it's a well-known dog 2 cats", 'naïve über']}


@needs_java
def test_ptb_tokens():
    texts = [["A dog's bark,\u2028twice...", ''], ['(no) "words"!']]
    assert module._tokenize_ptb(texts) == {
        0: ["a dog 's bark twice", ''],
        1: ['-lrb- no -rrb- words'],  # so it is: brackets stay, in lower case
    }


@needs_java
def test_ptb_of_a_turkish_machine(monkeypatch):
    """Where the small letter of I has no dot."""
    monkeypatch.setenv('LC_ALL', 'tr_TR.UTF-8')
    monkeypatch.setenv('JAVA_TOOL_OPTIONS', '-Duser.language=tr -Duser.country=TR')
    assert module._tokenize_ptb([['I SIT, É 汉']]) == {0: ['i sit é 汉']}


@pytest.mark.slow
@needs_java
def test_ptb_and_meteor(monkeypatch):
    """The values are those of pycocoevalcap 1.2, called as its own example does; also
    where numbers have a comma."""
    monkeypatch.setenv('LANG', 'it_IT.UTF-8')
    monkeypatch.setenv('JAVA_TOOL_OPTIONS', '-Duser.language=it -Duser.country=IT')
    scores = caption_scores(WRITTEN, TRUE)
    rounded = {name: round(value, 4) for name, value in scores.items()}
    assert rounded == {
        'BLEU-1': 0.9167,
        'BLEU-2': 0.8444,
        'BLEU-3': 0.7804,
        'BLEU-4': 0.6309,
        'ROUGE-L': 0.8096,
        'CIDEr-D': 3.9064,
        'METEOR': 0.8912,
    }


@pytest.mark.slow
@needs_java
def test_meteors_own_mark_and_no_word_at_all():
    texts = {0: ['c ||| d', 'e'], 1: ['f'], 2: ['g']}
    assert 0 < module._meteor(texts, {0: ['a ||| d'], 1: ['f'], 2: ['']}) < 1


@needs_java
@pytest.mark.skipif(
    EXAMPLE is None,
    reason='AAC_METRICS_EXAMPLE does not name data/example_1.csv of the sdist '
    'aac-metrics==0.6.0',
)
def test_published_example():
    """464 captions with 5 references each."""
    with open(EXAMPLE, newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    references = [[row[f'caption_{k}'] for k in range(1, 6)] for row in rows]
    scores = caption_scores([row['caption_predicted'] for row in rows], references)
    assert len(rows) == 464
    assert round(scores['BLEU-4'], 4) == 0.1449
    assert round(scores['ROUGE-L'], 4) == 0.3958
    assert round(scores['CIDEr-D'], 4) == 0.4017
    assert round(scores['METEOR'], 4) == 0.1788


def test_without_java(monkeypatch):
    monkeypatch.setattr(module.shutil, 'which', lambda name: None)
    with pytest.raises(ConfigError, match="need Java.*or set tokenizer='words'"):
        check_scoring('ptb')
    check_scoring('words')


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(module, 'find_spec', lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "coavt-mm\[caption\]"'):
        check_scoring('words')


@pytest.fixture
def fake_java(tmp_path, monkeypatch):
    """Writes a `java`; its calls are logged."""
    java = tmp_path / 'bin' / 'java'
    java.parent.mkdir()
    monkeypatch.setenv('PATH', f'{java.parent}:/usr/bin:/bin')

    def write(*cases):
        lines = [f'echo "$LC_ALL $*" >> {tmp_path}/log', 'case "$*" in', *cases, 'esac']
        java.write_text('\n'.join(['#!/bin/sh', *lines]) + '\n')
        java.chmod(0o755)
        return tmp_path / 'log'

    return write


PTB, VERSION = '*PTBTokenizer*) cat;;', '*-version*) ;;'
METEOR_FAILS = '*) echo "Error: no room for the heap" >&2; exit 1;;'


@pytest.mark.parametrize(
    ('cases', 'message'),
    [
        (['*) exit 3;;'], 'the PTB tokeniser: Java failed with status 3'),
        (['*) cat > /dev/null;;'], "lost words of 'a dog barks': Java failed"),
        (['*) kill -9 $$;;'], 'Java failed with status -9'),
        ([PTB, METEOR_FAILS], r'METEOR: Java failed with status 1 \(Error: no room'),
    ],
)
def test_java_is_tried_at_the_start(fake_java, cases, message):
    fake_java(*cases)
    for _ in range(2):  # and again
        with pytest.raises(ConfigError, match=f"{message}.*tokenizer='words' does"):
            check_scoring('ptb')
    check_scoring('words')


def test_every_program_has_a_fixed_locale(fake_java):
    log = fake_java(PTB, VERSION, METEOR_FAILS)
    check_scoring('ptb')
    check_scoring('ptb')
    with pytest.raises(CoAVTError, match='METEOR of pycocoevalcap failed .*no room'):
        caption_scores(WRITTEN, TRUE)
    calls = log.read_text().splitlines()
    assert len(calls) == 2 + 2 + 1  # at the start once; two texts; METEOR
    for call in calls:
        assert call.startswith('C.UTF-8 -Duser.language=en -Duser.country=US ')


def test_what_fails_leaves_the_rest(fake_java):
    fake_java(PTB, VERSION, METEOR_FAILS)
    problems = []
    scores = caption_scores(WRITTEN, TRUE, problems=problems)
    assert scores['METEOR'] is None and scores['ROUGE-L'] > 0.5
    (line,) = problems
    assert 'no room for the heap' in line and '\n' not in line


@needs_java
def test_the_folder_of_the_package_is_left_alone(monkeypatch):
    from pycocoevalcap.tokenizer import ptbtokenizer

    def read_only(*_, **__):
        raise PermissionError('read-only')

    monkeypatch.setattr(ptbtokenizer.tempfile, 'NamedTemporaryFile', read_only)
    assert module._tokenize_ptb([['a dog.']]) == {0: ['a dog']}


def test_broken_java_is_an_error(fake_java):
    fake_java('*) exit 1;;')
    for number in (1, 3):
        with pytest.raises(CoAVTError, match='Java failed'):
            caption_scores(WRITTEN[:number], TRUE[:number], 'ptb')
    tokens = {0: ['a dog']}
    with pytest.raises(CoAVTError, match='METEOR of pycocoevalcap failed'):
        module._meteor(tokens, tokens)


def test_bad_input():
    with pytest.raises(ConfigError, match="'13a' is none of"):
        caption_scores(['a'], [['a']], '13a')
    with pytest.raises(CoAVTError, match='no captions to score'):
        caption_scores([], [], 'words')
    with pytest.raises(CoAVTError, match='caption 1 has no reference'):
        caption_scores(['a', 'b'], [['a'], []], 'words')
