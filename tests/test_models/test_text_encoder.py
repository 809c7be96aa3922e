"""The text encoder is transformers' BERT, without its pooler: weights and numbers."""

import json
from dataclasses import asdict

import pytest
import torch
from transformers import BertConfig, BertModel

from coavt_mm.errors import CheckpointError, ConfigError
from coavt_mm.models import TextEncoder
from coavt_mm.models.bert import BertSettings

SIZES = dict(
    vocab_size=31,
    hidden_size=15,
    num_hidden_layers=2,
    num_attention_heads=5,
    intermediate_size=11,
    max_position_embeddings=9,
)


def text(batch=3, length=7):
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 31, (batch, length), generator=g)
    lengths = torch.randint(1, length + 1, (batch, 1), generator=g)
    return ids, (torch.arange(length) < lengths).long()


@torch.no_grad()
@pytest.mark.parametrize('batch', [1, 3])
def test_equals_bert(batch):
    torch.manual_seed(0)
    theirs = BertModel(BertConfig(**SIZES)).eval()
    ours = TextEncoder(config=SIZES).eval()
    state = {k: v for k, v in theirs.state_dict().items() if 'pooler' not in k}
    ours.bert.load_state_dict(state)
    ids, mask = text(batch)
    expected = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(ours(ids, mask), expected, atol=1e-6, rtol=0)
    assert ours.embed_dims == 15


def test_begins_and_trains_as_bert():
    """The same seed gives the same weights, dropout and gradients, to the digit."""
    ids, mask = text()
    hidden = (1 - mask[:, None, None].float()) * torch.finfo(torch.float32).min
    torch.manual_seed(3)
    theirs = BertModel(BertConfig(**SIZES), add_pooling_layer=False).train()
    x = theirs.embeddings(input_ids=ids)
    expected = theirs.encoder(x, attention_mask=hidden).last_hidden_state
    torch.manual_seed(3)
    ours = TextEncoder(config=SIZES).train()
    found = ours(ids, mask)
    assert torch.equal(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    pairs = zip(theirs.named_parameters(), ours.bert.named_parameters(), strict=True)
    for (name, a), (same_name, b) in pairs:
        assert name == same_name
        assert torch.equal(a, b) and torch.equal(a.grad, b.grad), name


@torch.no_grad()
@pytest.mark.parametrize('act', ['gelu', 'relu', 'gelu_new', 'silu'])
def test_other_activations_and_sizes(act, tmp_path):
    config = dict(SIZES, hidden_act=act, type_vocab_size=3, layer_norm_eps=1e-5)
    theirs = BertModel(BertConfig(**config, pad_token_id=4)).eval()
    theirs.save_pretrained(tmp_path)
    ours = TextEncoder(pretrained=str(tmp_path)).eval()
    ids, mask = text()
    expected = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(ours(ids, mask), expected, atol=1e-6, rtol=0)
    assert asdict(ours.bert.config) == asdict(BertSettings(**config, pad_token_id=4))


def test_half_precision_weights_are_read_as_float32(tmp_path):
    theirs = BertModel(BertConfig(**SIZES), add_pooling_layer=False).half()
    theirs.save_pretrained(tmp_path)
    ours = TextEncoder(pretrained=str(tmp_path)).bert.state_dict()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours[name], value.float()), name


@torch.no_grad()
def test_padding_changes_nothing():
    model = TextEncoder(config=SIZES).eval()
    ids, mask = text(1, 5)
    padded = torch.nn.functional.pad(ids, (0, 3)), torch.nn.functional.pad(mask, (0, 3))
    torch.testing.assert_close(
        model(*padded)[:, :5][mask.bool()], model(ids, mask)[mask.bool()]
    )


@torch.no_grad()
def test_pretrained_directory_and_growing_vocabulary(tmp_path):
    theirs = BertModel(BertConfig(**SIZES)).eval()
    theirs.save_pretrained(tmp_path)
    ours = TextEncoder(pretrained=str(tmp_path), vocab_size=33).eval()
    ids, mask = text()
    expected = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(ours(ids, mask), expected, atol=1e-6, rtol=0)
    assert ours(ids + 1, mask).shape == expected.shape  # id 31 is a new piece


def test_what_can_not_be_built():
    with pytest.raises(ConfigError, match='either'):
        TextEncoder()
    with pytest.raises(ConfigError, match='either'):
        TextEncoder(config=SIZES, pretrained='x')
    with pytest.raises(CheckpointError, match='no such directory'):
        TextEncoder(pretrained='/nowhere/bert')


@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        (
            dict(hiden_size=12),
            "takes no 'hiden_size'; it takes vocab_size",
        ),
        (dict(attn_implementation='someone/kernel'), "takes no 'attn_implementation'"),
        (dict(auto_map={}), "takes no 'auto_map'"),
        (dict(hidden_size='12'), "hidden_size='12' is no int"),
        (dict(hidden_size=12.0), 'hidden_size=12.0 is no int'),
        (dict(num_hidden_layers=True), 'num_hidden_layers=True is no int'),
        (dict(num_attention_heads=-1), 'num_attention_heads=-1 is no int, or negative'),
        (dict(hidden_dropout_prob='x'), "hidden_dropout_prob='x' is no float"),
        (dict(hidden_act=1), 'hidden_act=1 is no str'),
        (dict(hidden_act='gelo'), "no activation 'gelo'"),
        (dict(num_attention_heads=4), 'hidden_size=15 is not a multiple of num_att'),
    ],
)
def test_a_bert_has_sizes_and_rates_only(setting, message):
    with pytest.raises(ConfigError, match=message):
        TextEncoder(config={**SIZES, **setting})


def test_a_folder_can_not_name_code_to_attend_with(tmp_path):
    path = tmp_path / 'bert'
    BertModel(BertConfig(**SIZES)).save_pretrained(path)
    config = json.loads((path / 'config.json').read_text('utf-8'))
    config['_attn_implementation'] = 'someone/kernel'
    (path / 'config.json').write_text(json.dumps(config), 'utf-8')
    assert TextEncoder(pretrained=str(path)).embed_dims == 15
