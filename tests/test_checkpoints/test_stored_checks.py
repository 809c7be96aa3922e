"""A stored config is somebody else's: what runs code, reads elsewhere or makes no sense
is one line."""

import json
import sys

import pytest
import tiny_apis

from coavt_mm.checkpoints import config_to_json, read_stored_config
from coavt_mm.errors import CheckpointError
from coavt_mm.registry import MODELS

GONE = object()


@pytest.fixture(scope='module')
def text(vocabulary):
    cfg = tiny_apis.coavt_cfg(vocabulary)
    return config_to_json(cfg, MODELS.build(cfg.model))


def changed(text, place, value):
    """The config with another value at a place such as 'model.lm_head.streams'."""
    config = json.loads(text)
    *path, last = [int(p) if p.isdigit() else p for p in place.split('.')]
    node = config
    for part in path:
        node = node[part]
    if value is GONE:
        del node[last]
    elif isinstance(node, list):
        node.insert(last, value)
    else:
        node[last] = value
    return json.dumps(config)


def read(text):
    return read_stored_config(dict(meta=dict(coavt_config=text)), 'evil.pth')


def refused(text, message=''):
    with pytest.raises(CheckpointError, match=f'^evil.pth: .*{message}') as caught:
        read(text)
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 500


def test_what_the_tests_change_is_fine_before(text):
    assert read(text)['model']['type'] == 'CoAVT'


@pytest.mark.parametrize(
    'transform',
    [
        dict(
            type='mmpretrain.torchvision/ConvertImageDtype',
            dtype="float32 if open('MARK', 'w') else torch.float32",
        ),
        dict(type='mmpretrain.torchvision/RandomApply', transforms=[]),
        dict(type='torchvision/ConvertImageDtype', dtype='float32'),
        dict(type='mmpretrain.AutoAugment', policies='imagenet'),
        dict(type='mmaction.OpenCVInit', io_backend='petrel'),
        dict(type='mmaction.PyAVInit'),
        dict(type='mmaction.LoadHVULabel'),
        dict(type='mmaction.ImgAug', transforms='default'),
        dict(type='mmaction.PytorchVideoWrapper', op='RandAugment'),
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='mmcv.LoadImageFromFile'),
        dict(type='mmaction.datasets.transforms.Resize', scale=(8, 8)),
        dict(type='MMACTION.Resize', scale=(8, 8)),
        dict(type='coavt_mm.mmaction.Resize', scale=(8, 8)),
    ],
)
def test_transforms_of_others_by_name_only(text, transform, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(changed(text, 'pipeline.0', transform), 'not registered here')
    nested = dict(type='TransformBroadcaster', transforms=[transform])
    refused(changed(text, 'pipeline.1.transforms.0', nested), 'not registered here')
    assert not (tmp_path / 'MARK').exists()


@pytest.mark.parametrize(
    'transform',
    [
        dict(type='mmaction.Resize', scale='os.system("x")'),
        dict(type='mmaction.Resize', scale=2.0),
        dict(type='mmaction.Resize', scale=[10**6, 10**6], keep_ratio=False),
        dict(type='mmaction.Resize', scale=[-1, 8], keep_ratio=False),
        dict(type='mmaction.Resize', scale=[0, 8]),
        dict(type='mmaction.Resize', scale=[8, 8], interpolation='eval'),
        dict(type='mmaction.Resize', scale=[8, 8], lazy=True),
        dict(type='mmaction.CenterCrop', crop_size=0),
        dict(type='mmaction.CenterCrop', crop_size=True),
        dict(type='mmaction.CenterCrop', crop_size={}),
        dict(type='mmaction.Flip', flip_label_map={}),
        dict(type='mmpretrain.ColorJitter', backend='x'),
        dict(type='mmpretrain.ColorJitter', brightness=float('nan')),
        dict(type='TransformBroadcaster', transforms=[], mapping=dict(img=['x'])),
        dict(type='IfVisual', transforms=[5]),
        dict(type='IfVisual', transforms=[{}]),
        dict(type='IfVisual', transforms='mmaction.Resize'),
        dict(type='IfVisual'),
        dict(type='LoadFrames', pick=[]),
        dict(type='LoadFrames', num_frames=10**9),
        dict(type='LoadFrames', num_frames=0),
        dict(type='LoadFrames', num_frames='4'),
        dict(type='LoadFrames', timeout='60'),
        dict(type='LoadFrames', typo=1),
        dict(type='LoadAudio', seconds=1e9),
        dict(type='LoadAudio', seconds=float('inf')),
        dict(type='LoadAudio', seconds=-1),
        dict(type='LoadAudio', sample_rate=10**9),
        dict(type='LoadAudio', silence_dbfs=10**400),
        dict(type='AllCaptions', fields='captions'),
        dict(type='AllCaptions', templates=[1]),
    ],
)  # fmt: skip
def test_arguments_are_of_their_kind_and_size(text, transform):
    refused(changed(text, 'pipeline.0', transform), 'of its stored config')


@pytest.mark.parametrize(
    'transform',
    [
        dict(type='mmaction.Resize', scale={'__tuple__': [-1, 256]}),
        dict(type='mmaction.RandomResizedCrop', area_range=[0.5, 1]),
        dict(type='mmaction.Flip', flip_ratio=0),
        dict(type='mmpretrain.ColorJitter', brightness=0.1),
        dict(type='coavt_mm.LoadAudio', seconds=10),
    ],
)
def test_what_recipes_use_is_taken(text, transform):
    read(changed(text, 'pipeline.0', transform))


@pytest.mark.parametrize('key', ['_scope_', '_delete_', '_base_', '_', '__tuple__'])
@pytest.mark.parametrize(
    'place',
    ['model', 'model.lm_head', 'model.data_preprocessor.logmel', 'pipeline.0',
     'pipeline.1.transforms.0', 'model.text_encoder.config'],
)  # fmt: skip
def test_commands_to_mmengine_are_refused_anywhere(
    text, place, key, tmp_path, monkeypatch
):
    (tmp_path / 'evilpkg').mkdir()
    mark = tmp_path / 'MARK'
    for name in ('__init__', 'registry'):
        (tmp_path / 'evilpkg' / f'{name}.py').write_text(f'open({str(mark)!r}, "w")')
    monkeypatch.syspath_prepend(str(tmp_path))
    refused(changed(text, f'{place}.{key}', 'evilpkg'), 'begin with _')
    assert not mark.exists() and 'evilpkg' not in sys.modules


@pytest.mark.parametrize(
    ('place', 'value'),
    [
        ('model.text_encoder.pretrained', 'attacker/model'),
        ('model.text_encoder.pretrained', '/etc'),
        ('model.init_cfg', dict(type='Pretrained', checkpoint='http://127.0.0.1:1/a')),
        ('model.av_encoder.init_cfg', dict(type='Converted', checkpoint='x.pth')),
        ('model.lm_head.init_cfg', [dict(type='Pretrained', checkpoint='x.pth')]),
        ('model.tokenizer', 'attacker/tok'),
        ('model.tokenizer', '/abs/folder'),
        ('model.tokenizer', 'stored:0123456789abcdef'),
        ('model.tokenizer', ['x']),
        ('pipeline.4.tokenizer', 'bert-base-uncased'),
        ('tokenizers', {}),
    ],
)
def test_nothing_is_read_from_elsewhere(text, place, value, monkeypatch):
    def asked(*_, **__):
        raise AssertionError('the hub was asked')

    monkeypatch.setattr('transformers.AutoTokenizer.from_pretrained', asked)
    monkeypatch.setattr('transformers.BertModel.from_pretrained', asked)
    refused(changed(text, place, value))


@pytest.mark.parametrize('value', [5, None, [], {}, 'CoAVT', [[]], True])
@pytest.mark.parametrize('place', ['model', 'pipeline', 'tokenizers', 'classes'])
def test_parts_of_another_kind(text, place, value):
    fine = {'pipeline': [[]], 'classes': [None, []]}
    if value in fine.get(place, ()):
        read(changed(text, place, value))
    else:
        refused(changed(text, place, value))


@pytest.mark.parametrize(
    ('place', 'value'),
    [
        ('pipeline.0', None),
        ('pipeline.0', 5),
        ('pipeline.0', {}),
        ('pipeline.0.type', None),
        ('model.type', 5),
        ('model.type', GONE),
        ('model.lm_head.type', GONE),
        ('model.lm_head', 'LanguageModelingHead'),
        ('model.lm_head.typo', 1),
        ('model.query_encoder', GONE),
        ('model.av_encoder.depths', 'abc'),
        ('model.av_encoder.depths', 5),
        ('model.av_encoder.spec_size', ['a', 'b']),
        ('model.av_encoder.img_size', 32.5),
        ('model.av_encoder.img_size', True),
        ('model.query_encoder.num_queries', None),
        ('model.data_preprocessor.spec_std', '1'),
        ('model.contrastive_head.streams', dict(AV='x')),
        ('tokenizers', {'x': 5}),
        ('tokenizers', {'x': [1]}),
        ('tokenizers', {'x': ''}),
    ],
)
def test_nodes_of_another_kind(text, place, value):
    refused(changed(text, place, value))


@pytest.mark.parametrize('depth', [40, 450, 100_000])
@pytest.mark.parametrize('brackets', ['[]', '{}'])
def test_deep_nesting_is_one_line(text, depth, brackets):
    begin, end = ('[', ']') if brackets == '[]' else ('{"a":', '}')
    deep = begin * depth + '1' + end * depth
    for key in ('classes', 'test_cfg'):
        shallow = json.loads(text)
        (shallow if key == 'classes' else shallow['model'])[key] = 'HERE'
        refused(json.dumps(shallow).replace('"HERE"', deep))


@pytest.mark.parametrize(
    'text', ['[' * 100_000, '{"a":' * 100_000, '1e999', '9' * 5000]
)
def test_damage_is_one_line(text):
    refused(text, 'damaged')
