"""The config in a checkpoint: complete, data only, refused where it asks for code."""

import json
from pathlib import Path

import pytest
import tiny_apis
import torch
from mmengine.config import Config

from coavt_mm.checkpoints import (
    add_config,
    carried_config,
    config_to_json,
    export_safetensors,
    inference_config,
    read_stored_config,
    save_weights,
)
from coavt_mm.checkpoints.stored_config import FRIENDS, check_types, dicts
from coavt_mm.compat import load_from_local
from coavt_mm.datasets.tokenizer import build_tokenizer
from coavt_mm.errors import CheckpointError, ConfigError
from coavt_mm.registry import MODELS, TRANSFORMS

CONFIGS = sorted((Path(__file__).parents[2] / 'configs' / 'coavt').rglob('*.py'))


@pytest.fixture
def cfg(vocabulary):
    return tiny_apis.coavt_cfg(vocabulary)


def stored(text):
    return dict(meta=dict(coavt_config=text))


def test_what_is_read_is_what_was_written(cfg, vocabulary):
    read = read_stored_config(stored(config_to_json(cfg, MODELS.build(cfg.model))), 'x')
    written = inference_config(cfg)
    resize = read['pipeline'][1]['transforms'][0]
    assert resize['scale'] == (32, 32)  # a tuple: mmaction2 takes nothing else
    name = read['model'].pop('tokenizer')
    assert read['pipeline'][4].pop('tokenizer') == name
    assert written['model'].pop('tokenizer') == str(vocabulary)
    written['pipeline'][4].pop('tokenizer')
    assert read == written
    for text in ('the dog barks.', 'unheard [DEC]'):
        theirs = build_tokenizer(str(vocabulary))(text)['input_ids']
        assert build_tokenizer(name)(text)['input_ids'] == theirs
    assert len(build_tokenizer(name)) == len(build_tokenizer(str(vocabulary)))


def test_a_call_that_truncates_leaves_no_trace(cfg, vocabulary):
    model = MODELS.build(cfg.model)
    before = config_to_json(cfg, model)
    build_tokenizer(str(vocabulary))('the dog', truncation=True, max_length=3)
    assert config_to_json(cfg, model) == before


def test_pretrained_weights_and_files_are_not_asked_for_again(cfg, tmp_path):
    from transformers import BertConfig, BertModel

    size = dict(cfg.model.text_encoder.config)
    BertModel(BertConfig(**size)).save_pretrained(tmp_path / 'bert')
    cfg.model.text_encoder = dict(
        type='TextEncoder',
        pretrained=str(tmp_path / 'bert'),
        vocab_size=70,
        init_cfg=dict(type='Converted', checkpoint='gone.pth'),
    )
    model = MODELS.build(cfg.model)
    text = config_to_json(cfg, model)
    assert 'gone.pth' not in text and str(tmp_path / 'bert') not in text
    again = MODELS.build(read_stored_config(stored(text), 'x')['model'])
    again.load_state_dict(model.state_dict())
    assert again.text_encoder.bert.config.vocab_size == 70


@pytest.mark.parametrize(
    ('place', 'name'),
    [
        ('model', 'os.system'),
        ('model', 'builtins.eval'),
        ('model', 'NoSuchModel'),
        ('model', 'mmaction.Recognizer2D'),
        ('head', 'subprocess.Popen'),
        ('pipeline', 'os.system'),
        ('pipeline', 'torch.load'),
        ('nested', 'shutil.rmtree'),
        ('nested', 'mmaction.NoSuchTransform'),
        ('nested', ['Resize']),
    ],
)
def test_classes_from_elsewhere_are_refused(cfg, place, name):
    config = json.loads(config_to_json(cfg, MODELS.build(cfg.model)))
    node = {
        'model': config['model'],
        'head': config['model']['lm_head'],
        'pipeline': config['pipeline'][0],
        'nested': config['pipeline'][1]['transforms'][0],
    }[place]
    node['type'] = name
    with pytest.raises(CheckpointError, match='evil.pth: .*not registered here'):
        read_stored_config(stored(json.dumps(config)), 'evil.pth')


def test_the_packages_of_a_run_are_named_and_not_imported(cfg):
    cfg.custom_imports = dict(imports=['mylab.parts', 'antigravity'])
    config = json.loads(config_to_json(cfg, MODELS.build(cfg.model)))
    config['model']['type'] = 'MyLabModel'
    with pytest.raises(CheckpointError, match=r"--config\); .*'mylab.parts', 'anti"):
        read_stored_config(stored(json.dumps(config)), 'x.pth')
    for other in (None, 'x', [1], {}):  # of a stranger's checkpoint
        config['imports'] = other
        with pytest.raises(CheckpointError, match=r'\(--config\)$'):
            read_stored_config(stored(json.dumps(config)), 'x.pth')


@pytest.mark.parametrize('text', ['', '{"model"', '{}', '[]', 'null', 3])
def test_a_damaged_config_is_one_line(text):
    with pytest.raises(CheckpointError, match='stored config is damaged'):
        read_stored_config(stored(text), 'x.pth')


@pytest.mark.parametrize('checkpoint', [{}, {'meta': None}, {'meta': {}}])
def test_no_config_is_said(checkpoint):
    with pytest.raises(CheckpointError, match='give the config'):
        read_stored_config(checkpoint, 'x.pth')


def test_a_later_version_is_refused(cfg):
    config = json.loads(config_to_json(cfg, MODELS.build(cfg.model)))
    config['version'] = 2
    with pytest.raises(CheckpointError, match='is of version 2'):
        read_stored_config(stored(json.dumps(config)), 'x.pth')


def test_a_config_without_clips_or_with_code_is_refused(cfg):
    model = MODELS.build(cfg.model)
    cfg.model.data_preprocessor.spec_mean = torch.zeros(1)
    with pytest.raises(ConfigError, match='no data'):
        config_to_json(cfg, model)
    with pytest.raises(ConfigError, match='test_dataloader'):
        inference_config(Config(dict(model=cfg.model)))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_can_be_stored(path):
    stored_part = inference_config(Config.fromfile(path))
    for part in dicts(stored_part['model']):  # weights come from the checkpoint
        part.pop('init_cfg', None)
    check_types(stored_part['model'], MODELS, (), str(path))
    check_types(stored_part['pipeline'], TRANSFORMS, FRIENDS, str(path))


def test_it_goes_with_the_weights(cfg, tmp_path):
    model = MODELS.build(cfg.model)
    save_weights(model.state_dict(), tmp_path / 'bare.pth')
    bare = load_from_local(str(tmp_path / 'bare.pth'))
    assert carried_config(bare) is None
    config = add_config(cfg, bare['state_dict'])
    save_weights(bare['state_dict'], tmp_path / 'whole.pth', config=config)
    export_safetensors(tmp_path / 'whole.pth', tmp_path / 'whole.safetensors')
    for name in ('whole.pth', 'whole.safetensors'):
        assert carried_config(load_from_local(str(tmp_path / name))) == config
    with pytest.raises(CheckpointError, match='do not fit'):
        add_config(cfg, {'other.weight': torch.zeros(1)})


def test_a_config_that_comes_of_another_package(cfg):
    """mmengine marks what comes of `package::CONFIG` with the package's scope."""
    plain = inference_config(cfg)
    for node in (cfg.model, cfg.model.av_encoder):
        node['_scope_'] = 'coavt_mm'
    loader = cfg.test_dataloader.dataset
    loader.pipeline = [*loader.pipeline, dict(type='Resize', scale=3, _scope_='mmcv')]
    found = inference_config(cfg)
    assert found['model'] == plain['model']
    assert found['pipeline'][-1] == dict(type='mmcv.Resize', scale=3)
