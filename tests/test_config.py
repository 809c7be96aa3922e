import copy
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from coavt_mm.config import load_config, number_steps
from coavt_mm.config_options import check_cfg_options
from coavt_mm.config_variables import TOP_LEVEL
from coavt_mm.datasets.transforms import PackAVTInputs
from coavt_mm.errors import ConfigError


@pytest.fixture
def cfg(toy_cfg):
    return toy_cfg()


VALID = {
    'an existing key': {'train_cfg.max_iters': 5},
    'a number for another': {'optim_wrapper.optimizer.lr': 1},
    'a list index': {'param_scheduler.0.T_max': 3},
    'an argument of the constructor': {'model.dropout': 0.1},
    'an argument of a base class': {'model.init_cfg': None},
    'an argument of an optimiser': {'optim_wrapper.optimizer.weight_decay': 0.1},
    'an argument that is a dictionary': {'optim_wrapper.clip_grad.max_norm': 1.0},
    'an argument of a hook': {'custom_hooks.2.begin_iter': 2},
    'an argument of the loop': {'train_cfg.val_begin': 2},
    'an argument in a list of metrics': {'val_evaluator.0.bonus': 1.0},
    'a setting of the data loader': {'train_dataloader.prefetch_factor': 4},
    'an argument of the data set': {'train_dataloader.dataset.broken': 1},
    'a setting of randomness': {'randomness.deterministic': True},
    'a setting of the optimiser constructor': {
        'optim_wrapper.paramwise_cfg.norm_decay_mult': 0.0
    },
    'an argument of Runner': {'load_from': 'a.pth'},
    'a setting that Runner reads': {'find_unused_parameters': True},
    'another class and its argument': {
        'optim_wrapper.optimizer.type': 'SGD',
        'optim_wrapper.optimizer.momentum': 0.9,
    },
    'a class of another scope': {'custom_hooks.0.type': 'mmaction.VisualizationHook'},
    'nothing in place of a dictionary': {'val_cfg': None},
    'a list for a number': {'model.width': [4, 4]},
    'one entry for a list': {'betas': 0.9},
}


@pytest.mark.parametrize('options', VALID.values(), ids=VALID)
def test_valid_options_pass_with_their_values(cfg, options):
    if 'betas' in options:
        cfg.optim_wrapper.optimizer.betas = (0.8, 0.9)
        options = {'optim_wrapper.optimizer.betas': 0.9}
    before = copy.deepcopy(cfg._cfg_dict)
    check_cfg_options(cfg, options)
    assert cfg._cfg_dict == before
    cfg.merge_from_dict(options)
    key, value = next(iter(options.items()))
    assert cfg.get(key.split('.')[0]) != before.get(key.split('.')[0], 0) or (
        value is None and 'init_cfg' in key
    )


def test_entries_of_a_list_are_named_by_their_type(cfg):
    options = {
        'custom_hooks.EMAHook.momentum': 0.2,
        'train_dataloader.dataset.pipeline.CenterCrop.crop_size': 4,
        'param_scheduler.0.T_max': 3,
        'val_evaluator.ToyMetric.bonus': 1.0,
        'model.width': 3,
    }
    cfg.train_dataloader.dataset.pipeline = cfg.train_pipeline
    numbered = number_steps(cfg, options)
    assert [*numbered] == [
        'custom_hooks.2.momentum',
        'train_dataloader.dataset.pipeline.0.crop_size',
        'param_scheduler.0.T_max',
        'val_evaluator.0.bonus',
        'model.width',
    ]
    check_cfg_options(cfg, numbered)
    unknown = {'custom_hooks.EmaHook.momentum': 1, 'nothing.here.X': 2}
    assert number_steps(cfg, unknown) == unknown  # refused by the check


def test_names_that_do_not_say_which_are_refused(cfg):
    cfg.custom_hooks.append(dict(type='mmengine.EMAHook'))
    with pytest.raises(ConfigError, match='2 entries have the type EMAHook.*: 2, 3'):
        number_steps(cfg, {'custom_hooks.EMAHook.momentum': 0.2})
    both = {'param_scheduler.0.T_max': 3, 'param_scheduler.CosineAnnealingLR.T_max': 4}
    with pytest.raises(ConfigError, match="'param_scheduler.0.T_max' is set twice"):
        number_steps(cfg, both)


REFUSED = {
    'a typo': ('model.dropuot', 0.1, "nearest valid key is 'model.dropout'"),
    'a typo of an existing key': ('model.widht', 3, "'model.width'"),
    'a typo above': ('modle.width', 3, "nearest valid key is 'model'"),
    'a key without its path': ('max_iters', 5, "'train_cfg.max_iters'"),
    'a typo in an entry': ('val_evaluator.0.bonsu', 1, "'val_evaluator.0.bonus'"),
    'a typo in the data loader': (
        'train_dataloader.num_worker',
        2,
        "'train_dataloader.num_workers'",
    ),
    'far from everything': ('model.qqqq', 1, 'valid here: .*dropout.*width'),
    'an index too high': ('param_scheduler.1.T_max', 3, "a list of 1 .* '1' is none"),
    'a name as index': ('param_scheduler.x.T_max', 3, "'x' is none of 0 to 0"),
    'an entry of a number': ('model.width.x', 3, "'model.width' is 4 and has no"),
    'a scalar for a dictionary': ('model', 3, 'a dictionary there, this is a number'),
    'text for a number': ('model.width', 'wide', 'a number there, this is text'),
    'true for a number': ('model.width', True, 'a number there, this is true'),
    'a number for true': ('val_dataloader.sampler.shuffle', 1, 'true or false there'),
    'a number for a list of dictionaries': ('custom_hooks', 3, 'a list there'),
    'a list for a dictionary': ('train_cfg', [1], 'a dictionary there'),
    'a dictionary for text': ('default_scope', ConfigDict(a=1), 'text there'),
    'an unknown class': ('model.type', 'ToyModle', "the nearest is 'ToyModel'"),
    'an unknown scope': ('model.type', 'nowhere.X', 'no class of this name'),
    'a variable of the file': (
        'train_pipeline.0.crop_size',
        4,
        "no effect; set 'train_dataloader.dataset.pipeline.0.crop_size'",
    ),
}


@pytest.mark.parametrize('key, value, message', REFUSED.values(), ids=REFUSED)
def test_other_options_are_refused_with_the_nearest_name(cfg, key, value, message):
    cfg.train_dataloader.dataset.pipeline = copy.deepcopy(cfg.train_pipeline)
    with pytest.raises(ConfigError, match=message) as caught:
        check_cfg_options(cfg, {key: value})
    assert key in str(caught.value)
    assert '\n' not in str(caught.value)


def test_function_as_type_and_config_without_scope():
    cfg = Config(dict(model=dict(type=torch.nn.Linear, in_features=3)))
    check_cfg_options(cfg, {'model.out_features': 3})
    with pytest.raises(ConfigError, match='model.out_features'):
        check_cfg_options(cfg, {'model.out_feature': 3})


def demo_config(options):
    root = Path(__file__).parents[1]
    return load_config(str(root / 'configs/coavt/pretrain_demo.py'), options)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('model.text_encoder.config.type_vocab_size', 1),
        ('train_dataloader.sampler.curriculum.2.captions.captions', 1.0),
        ('train_dataloader.dataset.pipeline.PickCaption.fields.labels', 1.0),
        ('optim_wrapper.paramwise_cfg.custom_keys.text_encoder.lr_mult', 0.1),
    ],
)
def test_what_knows_its_own_keys_may_be_given_others(key, value):
    node = demo_config({key: value})
    for part in number_steps(node, {key: value}).popitem()[0].split('.'):
        node = node[int(part)] if part.isdigit() else node[part]
    assert node == value


def test_a_name_is_not_looked_for_far_away():
    with pytest.raises(ConfigError, match="unknown key 'optim_wrapper.paramwise_cfg"):
        demo_config({'optim_wrapper.paramwise_cfg.num_hidden_layers': 1})
    with pytest.raises(ConfigError, match="the nearest valid key .*norm_decay_mult'"):
        demo_config({'optim_wrapper.paramwise_cfg.norm_deca_mult': 1})


def test_what_a_runner_reads_is_known_without_importing_it():
    arguments = {*inspect.signature(Runner.__init__).parameters} - {'self', 'cfg'}
    assert arguments <= TOP_LEVEL


def test_a_config_on_top_of_an_installed_one_collates(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text("_base_ = 'coavt_mm::coavt/pretrain_demo.py'\nmax_iters = 3\n")
    loader = load_config(str(file)).train_dataloader
    assert loader.collate_fn.pop('_scope_') == 'coavt_mm'  # mmengine's mark
    heard = dict(waveform=np.ones(4, np.float32), audio_samples=4)
    clip = PackAVTInputs()(dict(heard, has_audio=True, sample_id='a'))
    for mark in ({}, {'_scope_': 'coavt_mm'}):
        settings = dict(loader.collate_fn, **mark)
        sampler = dict(type='DefaultSampler', shuffle=False)
        cfg = dict(dataset=[clip, clip], sampler=sampler, batch_size=2)
        with DefaultScope.overwrite_default_scope('coavt_mm'):
            loaded = Runner.build_dataloader(dict(cfg, collate_fn=settings))
        (batch,) = loaded
        assert batch['inputs']['waveform'].shape == (2, 4)
