"""Variables of a config that several parts take."""

from pathlib import Path

import pytest

from coavt_mm.config import idle_settings, load_config
from coavt_mm.config_variables import walk
from coavt_mm.errors import ConfigError

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs/coavt'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def _held(cfg, name):
    """Key -> value of all settings of a name that are read."""
    return {
        key: value
        for key, value in walk(cfg)
        if key.rpartition('.')[2] == name and key.split('.')[0] in ('model', *LOADERS)
    }


@pytest.mark.parametrize(
    'name', ['pretrain_vggsound', 'retrieval_audiocaps_finetune', 'caption_demo']
)
def test_a_tokenizer_said_once_on_the_command_line_reaches_all_places(name):
    places = _held(load_config(str(CONFIGS / f'{name}.py')), 'tokenizer')
    assert len(places) == 4 and len({*places.values()}) == 1
    cfg = load_config(str(CONFIGS / f'{name}.py'), {'tokenizer': '/my own/bert'})
    assert _held(cfg, 'tokenizer') == dict.fromkeys(places, '/my own/bert')
    assert cfg.tokenizer == '/my own/bert'


def test_a_setting_of_one_place_counts_more():
    options = {
        'tokenizer': 'a',
        'test_dataloader.dataset.pipeline.TokenizeText.tokenizer': 'b',
    }
    cfg = load_config(str(CONFIGS / 'pretrain_vggsound.py'), options)
    found = _held(cfg, 'tokenizer')
    (key,) = [key for key, value in found.items() if value == 'b']
    assert key.startswith('test_dataloader.') and [*found.values()].count('a') == 3


@pytest.mark.parametrize(
    ('name', 'old'),
    [
        ('pretrain_vggsound', 'data/vggsound'),
        ('av_retrieval_audioset', 'data/audioset'),
        ('av_retrieval_demo', 'data/sounding_shapes_bound'),
    ],
)
def test_a_folder_of_data_said_once(name, old):
    path = str(CONFIGS / f'{name}.py')
    assert {*_held(load_config(path), 'data_root').values()} == {old}
    cfg = load_config(path, {'data_root': '/elsewhere'})
    assert {*_held(cfg, 'data_root').values()} == {'/elsewhere'}


def test_what_lies_in_the_folder_moves_with_it():
    path = str(CONFIGS / 'pretrain_demo.py')
    cfg = load_config(path, {'data_root': '/shapes'})
    assert {*_held(cfg, 'tokenizer').values()} == {'/shapes/vocab.txt'}
    cfg = load_config(path, {'data_root': '/shapes', 'tokenizer': 'mine.txt'})
    assert {*_held(cfg, 'tokenizer').values()} == {'mine.txt'}


@pytest.fixture
def own(tmp_path):
    """Writes a config on top of a shipped one, and loads it."""

    def load(text, base='pretrain_vggsound', **options):
        path = tmp_path / 'own.py'
        path.write_text(f'_base_ = {str(CONFIGS / base)!r} + ".py"\n{text}\n')
        return load_config(str(path), options)

    return load


def test_a_config_sets_a_variable_that_it_inherits(own):
    cfg = own("tokenizer = '/bert'  # local\ndata_root = 'my data'")
    assert {*_held(cfg, 'tokenizer').values()} == {'/bert'}
    assert {*_held(cfg, 'data_root').values()} == {'my data'}
    cfg = own("tokenizer = '/bert'", tokenizer='/other')
    assert {*_held(cfg, 'tokenizer').values()} == {'/other'}


def test_other_values_stay(own):
    second = "train_dataloader = dict(dataset=dict(data_root='data/second'))"
    cfg = own(f"data_root = 'first'\n{second}")
    found = [cfg[name].dataset.data_root for name in LOADERS]
    assert found == ['data/second', 'first', 'first']


def test_a_variable_that_no_part_takes_is_refused():
    with pytest.raises(ConfigError, match="'tokenizer' is a variable .* no effect"):
        load_config(str(CONFIGS / 'cls_vggsound.py'), {'tokenizer': 'a'})
    with pytest.raises(ConfigError, match='unknown key'):
        load_config(str(CONFIGS / 'pretrain_demo.py'), {'tokeniser': 'a'})


def test_what_an_own_config_sets_in_vain_is_said(tmp_path):
    path = tmp_path / 'own.py'
    path.write_text(
        "_base_ = 'coavt_mm::coavt/pretrain_demo.py'\n"
        'max_iters = 12\n'  # reaches nothing any more
        'train_pipeline = []\n'
        'batch_size = 8\n'  # is no variable
        'optim_wraper = dict(clip_grad=None)\n'
        'unheard = 1\n'
        "data_root = 'mine'\n"  # goes on to where it is held
        'helper, _hidden = 3, 4\n'
        'weight = 2.0\n'  # is read here
        'model = dict(matching_head=dict(hardness=weight))\n'
    )
    lines = idle_settings(str(path), load_config(str(path)))
    kept = 'what the config that is inherited made of it stays'
    assert lines == [
        f'{path}: max_iters: {kept}; `--cfg-options max_iters=...` sets all of that, '
        'is train_cfg.max_iters meant?',
        f'{path}: train_pipeline: {kept}',
        f'{path}: batch_size: nothing reads it, is train_dataloader.batch_size meant?',
        f'{path}: optim_wraper: nothing reads it, is optim_wrapper meant?',
        f'{path}: unheard: nothing reads it',
    ]


@pytest.mark.parametrize('name', sorted(p.name for p in CONFIGS.glob('*.py')))
def test_no_config_of_ours_sets_in_vain(name):
    path = str(CONFIGS / name)
    read_by_a_tool = ['variants'] * (name == 'ablations.py')
    lines = idle_settings(path, load_config(path))
    assert [line.split(': ')[1] for line in lines] == read_by_a_tool


def test_a_config_that_was_written_down_is_taken_as_it_is(tmp_path):
    cfg = load_config(str(CONFIGS / 'pretrain_demo.py'))
    cfg.dump(tmp_path / 'ran.py')
    path = str(tmp_path / 'ran.py')
    assert idle_settings(path, load_config(path)) == []


def test_a_config_in_yaml_has_no_variables(tmp_path):
    (tmp_path / 'base.yaml').write_text('max_iters: 3\ntrain_cfg:\n  max_iters: 3\n')
    (tmp_path / 'own.yaml').write_text('_base_: ./base.yaml\nmax_iters: 4\n')
    (tmp_path / 'own.py').write_text("_base_ = './base.yaml'\nunheard = 1\n")
    for name, said in (('base.yaml', 0), ('own.yaml', 0), ('own.py', 1)):
        path = str(tmp_path / name)
        assert len(idle_settings(path, load_config(path))) == said
