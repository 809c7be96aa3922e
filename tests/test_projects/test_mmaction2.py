"""The recognisers, trained and tested by mmaction2's tools and ours on real files."""

import json
import re
from pathlib import Path

import ancestors
import mmaction
import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import init_default_scope

from coavt_mm.checkpoints import convert_cavmae, save_weights
from coavt_mm.datasets.media import probe
from coavt_mm.demo.grammar import FACTORS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / 'projects/mmaction2_coavt'
TOOLS = Path(mmaction.__path__[0]) / '.mim/tools'
DATA = 'data/sounding_shapes'
FIRST_BLOCK = {'visual': 'visual_blocks', 'audio': 'audio_blocks', 'joint': 'joint'}


@pytest.fixture
def lists(workspace, run):
    """Writes the lists of README.md, once."""
    for name in ('shape', 'timbre', 'all'):
        if not (workspace / DATA / f'lists/{name}/classes.txt').is_file():
            classes = ['--classes', *FACTORS[name]] if name in FACTORS else []
            run(
                PROJECT / 'make_lists.py', f'{DATA}/train.jsonl', f'{DATA}/test.jsonl',
                '--data-root', DATA, '--out', f'{DATA}/lists/{name}', *classes,
            )  # fmt: skip
    return workspace / DATA / 'lists'


@pytest.fixture
def cavmae(workspace):
    """Small converted CAV-MAE weights, as 'cavmae.pth'."""
    torch.manual_seed(1)
    converted = convert_cavmae(ancestors.cavmae(grid=(8, 16)), num_heads=2)
    save_weights(converted.state_dict, workspace / 'cavmae.pth')
    return converted


LOADERS = {
    f'{name}_dataloader.{key}': value
    for name in ('train', 'val', 'test')
    for key, value in dict(num_workers=0, persistent_workers=False).items()
}


def options(loaders, **settings):
    """Command-line options of a short run; `loaders` are added to all three."""
    settings = {key.replace('__', '.'): value for key, value in settings.items()}
    for name in ('train', 'val', 'test'):
        settings |= {f'{name}_dataloader.{k}': v for k, v in loaders.items()}
    settings |= {'train_dataloader.batch_size': 3, 'train_cfg.max_epochs': 1, **LOADERS}
    return ['--cfg-options', *(f'{k}={v}' for k, v in settings.items())]


def scores(folder):
    """Metrics of a run of train.py or test.py: what it wrote last."""
    last = max(folder.glob('*/*.json'), key=lambda path: path.stat().st_mtime_ns)
    found = json.loads(last.read_text().splitlines()[-1])
    return {key: value for key, value in found.items() if key.startswith('acc/')}


def train_and_test(run, config, work, changes):
    """The weights after one epoch, and the log; both tools give the same metrics."""
    config = PROJECT / 'configs' / config
    run(TOOLS / 'train.py', config, '--work-dir', work, *changes)
    lines = [json.loads(x) for x in next(work.glob('*/vis_data/*.json')).open()]
    validated = {k: v for x in lines for k, v in x.items() if k.startswith('acc/')}
    checkpoint = work / 'epoch_1.pth'
    run(TOOLS / 'test.py', config, checkpoint, '--work-dir', work / 'test', *changes)
    assert scores(work / 'test') == pytest.approx(validated, nan_ok=True)
    assert validated
    log = next(work.glob('*/*.log')).read_text()
    return torch.load(checkpoint, weights_only=False)['state_dict'], log


@pytest.mark.parametrize('name', ['visual', 'audio', 'joint'])
def test_from_a_coavt_checkpoint(name, run, lists, workspace, tmp_path):
    state, log = train_and_test(run, f'{name}_demo.py', tmp_path, options({}))
    start = torch.load(workspace / 'work_dirs/demo/checkpoint.pth')['state_dict']
    encoder = {k[11:]: v for k, v in start.items() if k.startswith('av_encoder.')}
    assert f'{len(encoder)} of {len(encoder)} tensors of the checkpoint' in log
    moved = {
        k for k, v in encoder.items() if not torch.equal(v, state['backbone.' + k])
    }
    assert any(k.startswith(FIRST_BLOCK[name]) for k in moved)
    silent = {'visual': 'audio', 'audio': 'visual'}.get(name)
    assert not any(k.startswith(str(silent)) for k in moved)


@pytest.mark.parametrize('name', ['visual', 'audio', 'joint'])
def test_from_converted_cavmae(name, run, lists, cavmae, tmp_path):
    """The configs at CAV-MAE's size, on its names in a small size."""
    sizes = {
        f'model__backbone__{key}': str(value).replace(' ', '')
        for key, value in cavmae.model_cfg.items()
        if key != 'type'
    }
    kind = 'audio' if name == 'audio' else 'video'
    loaders = {f'dataset.data_prefix.{kind}': DATA}
    if name != 'audio':
        loaders['dataset.pipeline.3.scale'] = '(32,32)'
        loaders['dataset.pipeline.4.crop_size'] = 32
    if name != 'visual':
        index = 0 if name == 'audio' else 6
        loaders[f'dataset.pipeline.{index}.preprocessor.spec_frames'] = 256
    for split in ('train', 'val', 'test'):
        file = f'{lists}/timbre/{"train" if split == "train" else "test"}_{kind}.txt'
        sizes[f'{split}_dataloader__dataset__ann_file'] = file
    changes = options(loaders, **sizes, model__cls_head__in_channels=24)
    state, log = train_and_test(run, f'{name}_vggsound.py', tmp_path, changes)
    count = len(cavmae.state_dict)
    assert f'{count} of {count} tensors of the checkpoint go into {count}' in log
    assert {k for k in state if k.startswith('backbone.')} == {
        f'backbone.{k}' for k in cavmae.state_dict
    }


@pytest.mark.parametrize('name', ['visual', 'audio', 'joint'])
def test_our_tools_take_their_configs(name, run, lists, tmp_path):
    """As README.md says. mmaction2's annotations are no rule for its settings."""
    config = PROJECT / f'configs/{name}_demo.py'
    run('tools/train.py', config, '--work-dir', tmp_path, *options({}))
    checkpoint, work = tmp_path / 'epoch_1.pth', tmp_path / 'test'
    run('tools/test.py', config, checkpoint, '--work-dir', work, *options({}))
    assert scores(work)


def test_weights_that_do_not_fit_stop_the_run(run, lists, cavmae, tmp_path):
    changes = options({}, model__backbone__init_cfg__checkpoint='cavmae.pth')
    with pytest.raises(Exception, match='do not fit'):
        run(
            TOOLS / 'train.py', PROJECT / 'configs/visual_demo.py',
            '--work-dir', tmp_path, *changes,
        )  # fmt: skip


def test_the_plain_encoder_is_a_backbone(run):
    """Without any option of ours, in a model that mmaction2's registry builds."""
    init_default_scope('mmaction')
    backbone = dict(
        type='coavt_mm.JointAVBackbone', embed_dims=16, num_heads=2, depths=(1, 1, 1),
        spec_size=(48, 32), img_size=32,
    )  # fmt: skip
    head = dict(num_classes=5, in_channels=16, average_clips='prob')
    for kind, head_type, inputs in (
        ('Recognizer2D', 'TSNHead', torch.rand(2, 3, 3, 32, 32)),
        ('RecognizerAudio', 'TSNAudioHead', torch.rand(2, 1, 1, 48, 32)),
    ):
        model = ROOT_MODELS.build(
            dict(type=kind, backbone=backbone, cls_head=dict(head, type=head_type))
        ).eval()
        assert model(inputs, stage='head').shape == (2, 5)


def test_ours_with_their_sampling(run, tmp_path):
    short = LOADERS | {'train_dataloader.batch_size': 2}
    run(
        'tools/train.py', PROJECT / 'configs/pretrain_sampled_demo.py',
        '--work-dir', tmp_path,
        '--cfg-options', 'train_cfg.max_iters=1', 'train_cfg.val_begin=2',
        *(f'{key}={value}' for key, value in short.items() if 'test' not in key),
    )  # fmt: skip
    assert (tmp_path / 'iter_1.pth').is_file()


def test_the_lists_say_what_the_manifest_says(lists):
    rows = [json.loads(x) for x in (lists.parent / 'train.jsonl').open()]
    video = (lists / 'shape/train_video.txt').read_text().splitlines()
    names = (lists / 'shape/classes.txt').read_text().splitlines()
    assert names == list(FACTORS['shape'])
    for row, line in zip(rows, video, strict=True):
        file, label = line.split()
        assert file == row['clip'] and names[int(label)] == row['labels'][0]
    every = (lists / 'all/train_audio.txt').read_text().splitlines()
    names = (lists / 'all/classes.txt').read_text().splitlines()
    for row, line in zip(rows, every, strict=True):
        file, length, *labels = line.split()
        assert int(length) == round(100 * probe(str(lists.parent / file)).audio_end)
        assert [names[int(x)] for x in labels] == row['labels']


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ('{"id": "a", "clip": "a b.mp4", "labels": ["x"]}', 'without spaces'),
        ('{"id": "a", "audio": "a.wav", "labels": ["x"]}', 'needs a film'),
        ('{"id": "a", "clip": "a.mp4", "end": 2, "labels": ["x"]}', 'is a span'),
    ],
)
def test_what_a_list_can_not_say_is_one_line(run, tmp_path, capsys, row, message):
    (tmp_path / 'm.jsonl').write_text(row + '\n')
    with pytest.raises(SystemExit):
        run(
            PROJECT / 'make_lists.py', tmp_path / 'm.jsonl', '--out', tmp_path,
            '--classes', 'x',
        )  # fmt: skip
    assert re.fullmatch(f'Error: .*{message}.*\n', capsys.readouterr().err)


def test_a_label_outside_the_classes(run, lists, tmp_path, capsys):
    manifest = f'{DATA}/test.jsonl'
    with pytest.raises(SystemExit):
        run(
            PROJECT / 'make_lists.py', manifest, '--data-root', DATA, '--out', tmp_path,
            '--classes', 'piano',
        )  # fmt: skip
    assert 'none of its labels is a class' in capsys.readouterr().err
