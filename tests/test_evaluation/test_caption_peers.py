"""Caption scores equal those of sacrebleu, aac-metrics and pycocoevalcap itself."""

import random

import pytest
import sacrebleu
import torch
from aac_metrics import functional as aac

from coavt_mm.evaluation.caption_scores import _tokenize_words, caption_scores

pytest.importorskip('pycocoevalcap', reason='pycocoevalcap (extra `caption`) is absent')

TEXT = 'a dog barks while rain falls on the roof and two men speak of it'
WORDS = TEXT.split()


def random_case(clips, references, seed=0):
    draw = random.Random(seed)

    def sentence():
        return ' '.join(draw.choices(WORDS, k=draw.randint(1, 14)))

    true = [[sentence() for _ in range(references)] for _ in range(clips)]
    written = [
        draw.choice([sentence(), ' '.join(WORDS[:5]), group[0], group[-1][:20] or 'a'])
        for group in true
    ]
    return written, true


CASES = {
    'one reference': random_case(30, 1),
    'three references': random_case(25, 3, seed=1),
    'five references': random_case(20, 5, seed=2),
    'two clips': random_case(2, 2, seed=3),
    'identical': (['a dog barks'] * 4, [['a dog barks']] * 4),
    'repeated words': (['a a a a a', 'dog dog dog'], [['a dog'], ['dog rain dog']]),
    'shorter than the n-grams': (['dog', 'a b'], [['dog barks'], ['a', 'a b c']]),
    'nothing in common': (['x y z w v', 'p q r s'], [['a b c d'], ['e f g h i']]),
    'unicode': (
        ['एक कुत्ता भौंकता है', '一 只 狗 叫', 'naïve café', 'СОБАКА лает'],
        [['एक कुत्ता भौंक रहा है'], ['一 只 狗'], ['Naïve Café là'], ['собака', 'лает']],
    ),
    'punctuation and case': (
        ['A dog, BARKS!', 'It is 5 p.m.; rain'],
        [['a dog barks.', 'dogs (two)'], ['it is 5 pm rain']],
    ),
}  # fmt: skip


def words_of(texts):
    """The words that are scored, so that tokenisers play no part here."""
    return list(_tokenize_words(texts).values())


@pytest.mark.parametrize('name', CASES)
def test_aac_metrics_agrees(name):
    written, true = CASES[name]
    found = caption_scores(written, true, 'words')
    written = [group[0] for group in words_of([[text] for text in written])]
    true = words_of(true)
    for n in (1, 2, 3, 4):
        bleu = aac.bleu(written, true, n=n)[0][f'bleu_{n}'].item()
        assert found[f'BLEU-{n}'] == pytest.approx(bleu, abs=1e-6)
    rouge = aac.rouge_l(written, true)[0]['rouge_l'].item()
    assert found['ROUGE-L'] == pytest.approx(rouge, abs=1e-6)
    cider = aac.cider_d(written, true)[0]['cider_d'].item()
    assert found['CIDEr-D'] == pytest.approx(cider, abs=1e-5)


@pytest.mark.parametrize('name', CASES)
def test_sacrebleu_agrees(name):
    written, true = CASES[name]
    found = caption_scores(written, true, 'words')
    written = [group[0] for group in words_of([[text] for text in written])]
    true = words_of(true)
    longest = max(map(len, true))
    streams = [[g[i] if i < len(g) else None for g in true] for i in range(longest)]
    for n in (1, 2, 3, 4):
        bleu = sacrebleu.metrics.BLEU(
            tokenize='none', max_ngram_order=n, smooth_method='none', force=True
        )
        expected = bleu.corpus_score(written, streams).score / 100
        if expected > 0:
            assert found[f'BLEU-{n}'] == pytest.approx(expected, abs=1e-6)
        else:  # no n-gram of this size is right: pycocoevalcap's floor
            assert found[f'BLEU-{n}'] < 0.04


@pytest.mark.parametrize('name', CASES)
def test_pycocoevalcap_called_directly_agrees(name):
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    written, true = CASES[name]
    found = caption_scores(written, true, 'words')
    said = dict(enumerate(words_of([[text] for text in written])))
    known = dict(enumerate(words_of(true)))
    assert found['ROUGE-L'] == Rouge().compute_score(known, said)[0]
    assert found['CIDEr-D'] == Cider().compute_score(known, said)[0]


def test_one_clip_has_no_cider_anywhere():
    found = caption_scores(['a dog barks'], [['a dog barks', 'rain']], 'words')
    assert found['CIDEr-D'] == 0
    with pytest.raises(ValueError, match='less than 2 candidates'):
        aac.cider_d(['a dog barks'], [['a dog barks', 'rain']])
    assert torch.is_tensor(aac.bleu(['a dog barks'], [['a dog barks']])[0]['bleu_4'])
