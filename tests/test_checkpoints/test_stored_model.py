"""The stored model goes with the weights beside it, or is not built at all."""

import json
import runpy
from pathlib import Path

import pytest
import tiny_apis
import torch
from mmengine.config import Config

from coavt_mm.apis import CoAVTInferencer, embed
from coavt_mm.checkpoints import (
    check_model,
    config_to_json,
    read_stored_config,
    stored_model,
)
from coavt_mm.checkpoints.conversion import skeleton
from coavt_mm.checkpoints.stored_checks import dicts
from coavt_mm.demo import grammar
from coavt_mm.errors import CheckpointError
from coavt_mm.models import TextEncoder
from coavt_mm.registry import MODELS

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / 'configs' / 'coavt').glob('*.py'))


@pytest.fixture(scope='module')
def checkpoint(vocabulary, tmp_path_factory):
    path = tmp_path_factory.mktemp('stored') / 'whole.pth'
    return torch.load(tiny_apis.save(tiny_apis.coavt_cfg(vocabulary), path))


def changed(checkpoint, changes):
    config = json.loads(checkpoint['meta']['coavt_config'])
    for place, value in changes.items():
        *path, last = [int(p) if p.isdigit() else p for p in place.split('.')]
        node = config
        for part in path:
            node = node[part]
        node[last] = value
    return dict(checkpoint, meta=dict(coavt_config=json.dumps(config)))


def check(checkpoint):
    stored = read_stored_config(checkpoint, 'evil.pth')
    check_model(stored, checkpoint['state_dict'], 'evil.pth')
    return stored


def test_it_costs_no_memory_and_no_random_numbers(checkpoint):
    before = torch.get_rng_state()
    check(checkpoint)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ('place', 'value'),
    [
        ('model.text_encoder.config.num_hidden_layers', 10**6),
        ('model.text_encoder.config.num_hidden_layers', 10**400),
        ('model.text_encoder.config.num_hidden_layers', -3),
        ('model.query_encoder.depth', 10**7),
        ('model.av_encoder.depths', [2, 101, 1]),
        ('model.av_encoder.depths', [2]),
        ('model.text_encoder.config.vocab_size', 10**11),
        ('model.text_encoder.config.max_position_embeddings', 10**12),
        ('model.text_encoder.config.hidden_size', 'abc'),
        ('model.text_encoder.config.hidden_size', 10**9),
        ('model.text_encoder.config.hidden_act', 'no such'),
        ('model.text_encoder.config.attn_implementation', 'attacker/kernel'),
        ('model.text_encoder.config._attn_implementation', 'attacker/kernel'),
        ('model.text_encoder.config.auto_map', {}),
        ('model.text_encoder.vocab_size', 10**10),
        ('model.query_encoder.num_queries', 10**10),
        ('model.query_encoder.num_queries', 0),
        ('model.query_encoder.vocab_size', 5),
        ('model.query_encoder.num_heads', 0),
        ('model.query_encoder.num_heads', -1),
        ('model.query_encoder.cross_every', 0),
        ('model.query_encoder.dropout', 7),
        ('model.av_encoder.img_size', 10**6),
        ('model.av_encoder.img_size', 0),
        ('model.av_encoder.spec_size', [10**7, 32]),
        ('model.av_encoder.embed_dims', -4),
        ('model.av_encoder.num_heads', 0),
        ('model.av_encoder.mlp_ratio', 1e300),
        ('model.contrastive_head.proj_dims', 10**12),
        ('model.data_preprocessor.spec_frames', 10**9),
        ('model.data_preprocessor.logmel', dict(num_mel_bins=10**9)),
        ('model.data_preprocessor.logmel', dict(num_mel_bins=32, frame_shift=0.0)),
        ('model.data_preprocessor.logmel', dict(num_mel_bins=32, sample_rate='x')),
        ('model.data_preprocessor.augment', dict(typo=1)),
        ('model.lm_head.dec_token_id', 10**9),
        ('model.lm_head.dec_token_id', -1),
        ('model.lm_head.end_token_id', 10**9),
        ('model.data_preprocessor.pad_token_id', 10**9),
        ('model.data_preprocessor', None),
        ('model.av_encoder', None),
        ('model.test_cfg', dict(typo=1)),
        ('model.test_cfg', dict(caption=dict(a=dict(num_beams='x')))),
        ('pipeline.4.max_tokens', 10**6),
        ('pipeline.4.max_tokens', 0),
        ('pipeline.0.pick', 'none'),
        ('pipeline.0.pick', 99),
        ('pipeline.0.backend', 'none'),
        (
            'pipeline.0',
            dict(
                type='LoadFrames',
                sampler=dict(type='mmaction.SampleFrames', clip_len=100, num_clips=100),
            ),
        ),
        ('pipeline.1.transforms', [dict(type='mmaction.Flip')] * 101),
        ('pipeline.1.transforms.0.scale', [32, 32]),  # mmaction2 takes tuples only
    ],
)
def test_sizes_and_values_that_make_no_sense(checkpoint, place, value):
    with pytest.raises(CheckpointError, match=r'^evil.pth: ') as caught:
        check(changed(checkpoint, {place: value}))
    assert '\n' not in str(caught.value)


def test_a_tokenizer_with_more_pieces_than_the_model(checkpoint):
    config = json.loads(checkpoint['meta']['coavt_config'])
    ((name, text),) = config['tokenizers'].items()
    rules = json.loads(text)
    pieces = len(rules['model']['vocab']) + 1
    rules['model']['vocab']['zzz'] = pieces
    text = json.dumps(rules)
    with pytest.raises(CheckpointError, match='do not fit its model'):
        check(changed(checkpoint, {'tokenizers': {name: text}}))


def test_pictures_of_another_size_are_still_taken(checkpoint):
    check(changed(checkpoint, {'model.av_encoder.img_size': 64}))


def test_views_do_not_make_a_file_larger(checkpoint):
    for huge in (torch.zeros(1).expand(10**12), torch.sparse_coo_tensor(size=(9, 9))):
        state = dict(checkpoint['state_dict'], huge=huge)
        with pytest.raises(CheckpointError, match="'huge' shows .* numbers, the file"):
            check(dict(checkpoint, state_dict=state))


def test_classes_of_a_user_are_left_alone(checkpoint):
    class NotOnMeta(TextEncoder):
        def __init__(self, **options):
            super().__init__(**options)
            self.rate = torch.linspace(0, 1, 3)[1].item()

    MODELS.register_module(module=NotOnMeta)
    try:
        check(changed(checkpoint, {'model.text_encoder.type': 'NotOnMeta'}))
    finally:
        MODELS.module_dict.pop('NotOnMeta')


def test_a_user_sees_one_line_and_no_code_runs(
    checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    transform = dict(
        type='mmpretrain.torchvision/ConvertImageDtype',
        dtype="float32 if open('MARK', 'w') else torch.float32",
    )
    config = json.loads(checkpoint['meta']['coavt_config'])
    evil = changed(checkpoint, dict(pipeline=[transform, *config['pipeline']]))
    torch.save(evil, tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError, match='evil.pth: .*ConvertImageDtype'):
        CoAVTInferencer(weights=tmp_path / 'evil.pth', device='cpu')
    with pytest.raises(CheckpointError, match='evil.pth: .*ConvertImageDtype'):
        embed(text='the dog', model=tmp_path / 'evil.pth')
    (tmp_path / 'clip.mp4').write_bytes(b'looked at later')
    monkeypatch.setattr('sys.argv', ['infer.py', 'caption', 'evil.pth', 'clip.mp4'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / 'tools' / 'infer.py'), run_name='__main__')
    said = capsys.readouterr().err
    assert said.startswith('Error: evil.pth') and said.count('\n') == 1
    assert not (tmp_path / 'MARK').exists()


@pytest.fixture(scope='module')
def words(tmp_path_factory):
    """Vocabularies as large as the demo's and as BERT's."""
    root = tmp_path_factory.mktemp('words')
    demo = grammar.vocabulary()
    special = ['[PAD]', *(f'[unused{i}]' for i in range(99)), '[UNK]', '[CLS]', '[SEP]']
    bert = [*special, '[MASK]', *(f'w{i}' for i in range(30522 - len(special) - 1))]
    for name, pieces in (('demo.txt', demo), ('bert.txt', bert)):
        (root / name).write_text('\n'.join(pieces) + '\n', 'utf-8')
    return {
        'data/sounding_shapes/vocab.txt': str(root / 'demo.txt'),
        'data/own/tokenizer': str(root / 'demo.txt'),
        'bert-base-uncased': str(root / 'bert.txt'),
    }


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_read_again(path, words, monkeypatch):
    cfg = Config.fromfile(path).to_dict()
    cfg = {key: cfg[key] for key in ('model', 'test_dataloader')}
    for node in dicts(cfg):
        if node.get('tokenizer'):
            node['tokenizer'] = words[node['tokenizer']]
    cfg = Config(cfg)
    model = skeleton(cfg.model)
    text = config_to_json(cfg, model)
    stored = read_stored_config(dict(meta=dict(coavt_config=text)), path.stem)
    numbers = sum(t.numel() for t in model.state_dict().values())
    monkeypatch.setattr(stored_model, 'stored_numbers', lambda *_: numbers)
    check_model(stored, model.state_dict(), path.stem)
