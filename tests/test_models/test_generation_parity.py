"""Search held against transformers' own `generate()` on random language models."""

from itertools import product
from types import SimpleNamespace

import pytest
import torch
import transformers
from packaging.version import Version
from torch import nn
from transformers import (
    GenerationConfig,
    GenerationMixin,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput

from coavt_mm.models.generation import generate

DEC, END, VOCAB, CLIPS, LENGTH = 0, 1, 12, 4, 9
rule_of_today = pytest.mark.skipif(
    Version(transformers.__version__) < Version('4.57'),
    reason='transformers 4.48 to 4.53 end a beam search by another rule',
)


class RandomTables:
    """Logits (rows, V) after ids (rows, L): for each clip a sum of random tables of the
    last token, the one before and the length. Rows of a clip lie together."""

    def __init__(self, seed, end_bias):
        rng = torch.Generator().manual_seed(seed)
        size = (3, CLIPS, max(VOCAB, LENGTH + 1), VOCAB)
        self.tables = 1.5 * torch.randn(size, generator=rng)
        self.tables[2, ..., END] += end_bias

    def __call__(self, ids):
        clip = torch.arange(len(ids)) // (len(ids) // CLIPS)
        last, before = ids[:, -1], ids[:, max(ids.shape[1] - 2, 0)]
        length = torch.full_like(last, ids.shape[1])
        parts = zip(self.tables, (last, before, length), strict=True)
        return sum(table[clip, index] for table, index in parts)


class Decoder:
    """Stands for query encoder and head: the 'cache' holds the ids so far."""

    def __init__(self, tables):
        self.tables = tables
        self.word_embeddings = SimpleNamespace(weight=None)

    def decode_text(self, token, mask, past):
        ids = torch.cat([past[0][0], token], 1)
        return self.tables(ids)[:, None], [(ids, ids)]


class Head:
    dec_token_id, end_token_id = DEC, END

    def __call__(self, hidden, words):
        return hidden


def ours(tables, **options):
    empty = torch.zeros(CLIPS, 0, dtype=torch.long)
    state = SimpleNamespace(hidden=empty, self_kv=[(empty, empty)])
    return generate(Decoder(tables), Head(), state, **options)


class Plain(PreTrainedModel, GenerationMixin):
    config_class = PretrainedConfig
    main_input_name = 'input_ids'

    def __init__(self, tables):
        super().__init__(PretrainedConfig(vocab_size=VOCAB, is_encoder_decoder=False))
        self.generation_config = GenerationConfig()
        self.tables = tables
        self.scale = nn.Parameter(torch.ones(1))

    def prepare_inputs_for_generation(self, input_ids, **kwargs):
        return dict(input_ids=input_ids)

    def forward(self, input_ids, **kwargs):
        return CausalLMOutput(logits=self.tables(input_ids)[:, None])


def theirs(tables, max_new_tokens, min_new_tokens, **options):
    written = Plain(tables).generate(
        torch.full((CLIPS, 1), DEC),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens,
        eos_token_id=END,
        pad_token_id=END,
        use_cache=False,
        **options,
    )
    rows = [[*row, END] for row in written[:, 1:].tolist()]
    return [row[: row.index(END)] for row in rows]


@rule_of_today
@pytest.mark.parametrize('length_penalty', [-1.0, 0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize('num_beams', [3, 5])
def test_beam_search(num_beams, length_penalty):
    """Captions that end early, late and not at all."""
    lengths = set()
    cases = product([1.0, 1.2, 1.5], [1, 3, 4])
    for seed, (repetition_penalty, min_new_tokens) in enumerate(cases):
        tables = RandomTables(seed, end_bias=(0.0, 2.0, 4.0)[seed % 3])
        options = dict(
            num_beams=num_beams,
            length_penalty=length_penalty,
            repetition_penalty=repetition_penalty,
            min_new_tokens=min_new_tokens,
            max_new_tokens=LENGTH,
        )
        found = ours(tables, **options)
        assert found == theirs(tables, **options)
        lengths.update(map(len, found))
    assert len(lengths) > 2


@pytest.mark.parametrize('repetition_penalty', [1.0, 1.5])
def test_greedy(repetition_penalty):
    for seed in range(4):
        tables = RandomTables(seed, end_bias=2.0)
        options = dict(
            repetition_penalty=repetition_penalty,
            min_new_tokens=1,
            max_new_tokens=LENGTH,
        )
        assert ours(tables, **options) == theirs(tables, **options)
