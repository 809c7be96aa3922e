"""BLIP-2's numbers, and sizes read from tensors."""

import ancestors
import pytest
import torch

from coavt_mm.checkpoints import convert_blip2
from coavt_mm.errors import CheckpointError
from coavt_mm.registry import MODELS


@pytest.fixture(scope='module')
def pair():
    path, io = ancestors.golden('blip2_qformer_tiny')
    converted = convert_blip2(path, num_heads=2, dec_token_id=4, end_token_id=3)
    assert converted.report.share == 1
    model = MODELS.build(converted.model_cfg)
    model.load_state_dict(converted.state_dict, strict=True)
    return model.eval(), io


def close(got, expected):
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_golden_states_features_and_contrastive_loss(pair):
    model, io = pair
    inputs, out = io['inputs'], io['outputs']
    ids, mask = inputs['input_ids'], inputs['attention_mask']
    state = model.query(inputs['encoder_tokens'])
    text = model.encode_text(ids, mask)
    close(state.hidden, out['query_hidden'])
    close(text, out['text_hidden'])
    head = model.contrastive_head
    queries, texts = head.project_queries(state.hidden), head.project_text(text)
    close(queries, out['query_feat'])
    close(texts, out['text_feat'])
    similarity = head.similarity(queries, texts, queries, texts)
    close(similarity.a_to_b * head.temperature, out['similarity'])
    every = torch.ones(len(ids), dtype=torch.bool)
    loss = head.loss(similarity, torch.eye(len(ids)).bool(), every, every)
    close(loss, out['loss_contrastive'])


@torch.no_grad()
def test_golden_matching(pair):
    model, io = pair
    inputs, out = io['inputs'], io['outputs']
    tokens, negative = inputs['encoder_tokens'], inputs['negative_index']
    text = [inputs['input_ids'], inputs['attention_mask']]
    logits = model.match(
        torch.cat([tokens, tokens[negative], tokens]),
        *(torch.cat([part, part, part[negative]]) for part in text),
    )
    close(logits, out['match_logits'])
    labels = (torch.arange(len(logits)) < len(tokens)).long()
    loss, _ = model.matching_head.loss(logits, labels)
    close(loss, out['loss_matching'])


@torch.no_grad()
def test_golden_language_modelling(pair):
    model, io = pair
    inputs, out = io['inputs'], io['outputs']
    ids, mask = inputs['input_ids'], inputs['attention_mask']
    head, encoder = model.lm_head, model.query_encoder
    state = model.query(inputs['encoder_tokens'])
    hidden, _ = encoder.decode_text(head.start(ids), mask, state.self_kv)
    logits = head(hidden, encoder.word_embeddings.weight)
    close(logits, out['lm_logits'])
    loss = head.loss(logits, ids, mask)
    close(loss, out['loss_lm'])


SIZES = [
    dict(),
    dict(dims=16, depth=4, every=2, hidden=20, context=40, queries=7, vocab=11),
    dict(dims=12, depth=3, every=1, texts=9, proj=6),
    dict(dims=8, depth=2, every=2, queries=1),
]


@pytest.mark.parametrize('wrapped', [True, False])
@pytest.mark.parametrize('size', SIZES)
def test_sizes_are_inferred(size, wrapped):
    torch.manual_seed(0)
    source = ancestors.blip2(**size)
    converted = convert_blip2(source if wrapped else source['model'], num_heads=2)
    model = MODELS.build(converted.model_cfg)
    model.load_state_dict(converted.state_dict, strict=True)
    context = size.get('context', 12)
    feats = model.contrastive_head.project_queries(
        model.query(torch.randn(2, 5, context)).hidden
    )
    assert feats.shape == (2, size.get('queries', 3), size.get('proj', 10))
    assert model.contrastive_head.temperature.item() == pytest.approx(0.06)
    assert model.lm_head.dec_token_id == size.get('vocab', 37) - 1
    assert 'tied' in str(converted.report)


def test_refusals():
    state = ancestors.blip2()['model']
    untied = dict(state)
    untied['Qformer.cls.predictions.decoder.weight'] = torch.zeros(37, 20)
    with pytest.raises(CheckpointError, match='differs from'):
        convert_blip2(untied, 2)
    state_of_stage_2 = {k: v for k, v in state.items() if 'cls.' not in k}
    with pytest.raises(CheckpointError, match='not a BLIP-2 stage-1'):
        convert_blip2(state_of_stage_2, 2)
    with pytest.raises(CheckpointError, match='outside the vocabulary'):
        convert_blip2(state, 2, dec_token_id=37)
    gap = {k: v for k, v in state.items() if 'layer.3.crossattention' not in k}
    gap.update(
        {
            k.replace('layer.0.', 'layer.4.'): v
            for k, v in state.items()
            if 'layer.0.crossattention' in k
        }
    )
    gap.update(
        {
            k.replace('layer.0.', 'layer.1.'): v
            for k, v in state.items()
            if 'layer.0.crossattention' in k
        }
    )
    with pytest.raises(CheckpointError, match='no regular'):
        convert_blip2(gap, 2)
