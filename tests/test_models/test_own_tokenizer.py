"""A text encoder with another tokenizer than the query encoder: a class, a config."""

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from tiny_coavt import tiny_cfg

from coavt_mm.apis.answering import TextReader
from coavt_mm.datasets import stack_clips
from coavt_mm.datasets.tokenizer import build_tokenizer
from coavt_mm.datasets.transforms import PackAVTInputs, TokenizeText
from coavt_mm.errors import ConfigError
from coavt_mm.evaluation.prompts import text_features
from coavt_mm.models import AVTDataPreprocessor, CoAVT, TextEncoder

WORDS = ['the dog barks', 'a cat', 'barks, barks.', 'dog']
SPECIAL = 5  # [PAD] ... [MASK], the same in both


class OwnTokenizerEncoder(TextEncoder):
    reads = 'text_ids'

    def __init__(self, tokenizer, **options):
        super().__init__(**options)
        self.tokenizer = tokenizer


@pytest.fixture(scope='module')
def vocabularies(vocabulary, tmp_path_factory):
    """Two files of the same pieces; the second has them in the reverse order."""
    pieces = vocabulary.read_text().splitlines()
    other = tmp_path_factory.mktemp('other') / 'vocab.txt'
    pieces = pieces[:SPECIAL] + pieces[: SPECIAL - 1 : -1]
    other.write_text('\n'.join(pieces) + '\n')
    return str(vocabulary), str(other)


@pytest.fixture(scope='module')
def models(vocabularies):
    """The same model twice; the second's text encoder has the other tokenizer."""
    own, other = vocabularies
    size = len(build_tokenizer(own))
    cfg = tiny_cfg(tokenizer=own, data_preprocessor=dict(type='AVTDataPreprocessor'))
    for part in ('query_encoder', 'lm_head'):
        cfg[part].update(vocab_size=size)
    cfg['text_encoder']['config'].update(vocab_size=size)
    torch.manual_seed(0)
    one = CoAVT(**cfg)
    config = cfg['text_encoder']['config']
    encoder = OwnTokenizerEncoder(tokenizer=other, config=config)
    two = CoAVT(**dict(cfg, text_encoder=encoder))
    two.load_state_dict(one.state_dict())
    table = two.text_encoder.bert.embeddings.word_embeddings.weight
    with torch.no_grad():
        table[SPECIAL : size - 1] = table[SPECIAL : size - 1].flip(0)
    return one.eval(), two.eval()


def batch_of(steps, texts=WORDS):
    """Clips with one caption each, as a loader and the preprocessor make them."""
    packed = []
    for i, text in enumerate(texts):
        row = dict(texts=[text], text_streams=['AV'], sample_id=str(i), sample_idx=i)
        row.update(imgs=[np.full((32, 32, 3), 40 * i, np.uint8)], has_visual=True)
        row.update(waveform=np.full(8000, 0.1 * i, np.float32), has_audio=True)
        row.update(audio_samples=8000, sample_rate=16000)
        for step in steps:
            row = step(row)
        packed.append(row)
    preprocess = AVTDataPreprocessor(spec_frames=48, logmel=dict(num_mel_bins=32))
    return preprocess(stack_clips(packed))


def steps_of(own, other):
    again = TokenizeText(other, key='text_ids')
    return [TokenizeText(own), again, PackAVTInputs()]


def test_losses_and_features_equal_those_of_one_tokenizer(models, vocabularies):
    one, two = models
    data = batch_of(steps_of(*vocabularies))
    inputs = data['inputs']
    assert inputs['text_ids'].shape == inputs['text_ids_mask'].shape
    assert not inputs['text_ids'].equal(inputs['input_ids'])
    losses = []
    for model in models:
        torch.manual_seed(1)
        losses.append(model.loss(inputs, data['data_samples']))
    assert losses[0].keys() == losses[1].keys()
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value, atol=1e-6, rtol=0)
    found = []
    with torch.no_grad():
        for model in models:
            samples = [BaseDataElement() for _ in WORDS]
            found.append(model.predict(dict(inputs), samples))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a.caption_feats, b.caption_feats)
        assert a.caption_ids[0].equal(b.caption_ids[0])  # for the query encoder


def test_prompts_and_texts_of_the_api_are_read_by_the_own_tokenizer(
    models, vocabularies
):
    tokenizers = {t.key: t for t in steps_of(*vocabularies)[:2]}
    expected = text_features(models[0], WORDS)
    torch.testing.assert_close(text_features(models[1], WORDS), expected)
    for model in models:
        reader = TextReader(model, tokenizers)
        torch.testing.assert_close(reader.features(WORDS), expected)
        assert reader.tokens(WORDS)[0].equal(
            torch.from_numpy(tokenizers['input_ids'](dict(texts=WORDS))['input_ids'][0])
        )


def test_a_pipeline_without_its_ids_is_one_line(models, vocabularies):
    data = batch_of([TokenizeText(vocabularies[0]), PackAVTInputs()])
    with pytest.raises(ConfigError, match='reads text_ids, which the batch lacks: add'):
        models[1].loss(data['inputs'], data['data_samples'])
    with pytest.raises(ConfigError, match="key='words' must end with '_ids'"):
        TokenizeText(vocabularies[0], key='words')
