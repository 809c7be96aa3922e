"""What is wrong with a run is said before it begins: each in a line, all by `check`."""

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from coavt_mm.cli import launch
from coavt_mm.cli.check import check
from coavt_mm.cli.check_report import report
from coavt_mm.cli.checking import Check, _build, check_config
from coavt_mm.cli.count_checks import wrong_counts
from coavt_mm.cli.fit_checks import refuse
from coavt_mm.cli.plan_checks import of_best, of_length
from coavt_mm.cli.run_parts import Parts, metrics_of
from coavt_mm.cli.setting_checks import fits, kind_name, wrong_settings
from coavt_mm.config import load_config
from coavt_mm.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path for path in (ROOT / 'configs/coavt').glob('*.py') if path.stem != 'ablations'
)


@pytest.fixture
def small(data):
    """A function that gives the small pre-training with settings of its own."""

    def make(**options):
        cfg = Config.fromfile(data / 'config.py')
        cfg.work_dir = 'run'
        cfg.merge_from_dict({k.replace('__', '.'): v for k, v in options.items()})
        return cfg

    return make


# --------------------------------------------------------------------------------------
# Values
# --------------------------------------------------------------------------------------
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_nothing_is_wrong_with_what_is_shipped(path):
    cfg = load_config(str(path))
    assert wrong_settings(cfg) == {}
    parts = Parts(cfg, val=[0], metrics=metrics_of(cfg, 'val'))
    assert [*of_best(parts)] == []
    assert [*of_length(parts)] == [] or path.stem == 'pretrain_vggsound_dry_run'


WRONG = {
    'model__query_encoder__depth': [2.5, '3', [1], None, True, 0, -1],
    'model__query_encoder__num_queries': [0, 'many'],
    'model__av_encoder__depths': [[1, 1], 3, [1, 1, 'a'], [1, -1, 1]],
    'model__av_encoder__spec_size': [[32], [0, 128], 32],
    'model__contrastive_head__temperature': [0, -0.1, 'warm'],
    'model__contrastive_head__streams': [['AV'], dict(AV='x')],
    'model__lm_head__label_smoothing': [1.5, -0.1],
    'model__data_preprocessor__logmel__num_mel_bins': [0],
    'model__av_encoder__with_cp': [1, 'yes'],
    'train_dataloader__dataset__pipeline__0__num_frames': [0, -3, 2.5],
    'train_dataloader__dataset__pipeline__1__seconds': [-1, 0, 'ten'],
    'val_dataloader__dataset__test_mode': ['True'],
    'train_cfg__max_iters': ['many', 10.5, -1, 0, float('inf'), True],
    'train_cfg__val_interval': [-3, 0, 2.5],
    'train_cfg__val_begin': [-1],
    'train_cfg__dynamic_intervals': [[(10, 0)], [(-1, 5)], [10], [(10, 5, 2)]],
    'train_dataloader__batch_size': [0, -4, 2.5],
    'val_dataloader__num_workers': [-1, 'two'],
    'train_dataloader__prefetch_factor': [0],
    'auto_scale_lr': [dict(enable=False, base_batch_size=0), dict(base_batch_size=-2)],
    'default_hooks__checkpoint__interval': [0, -2, 'often'],
    'default_hooks__checkpoint__max_keep_ckpts': [0, -3],
    'default_hooks__logger__interval': [0, -1],
    'custom_hooks': [[dict(type='EMAHook', interval=0)]],
    'log_processor__window_size': [0],
    'default_hooks__nonfinite__max_skipped': [0.5],
    'val_evaluator__topk': [0],
    'optim_wrapper__optimizer__lr': [-1],
    'param_scheduler__0__begin': [-1],
    'param_scheduler': [
        [dict(type='StepLR', step_size=0)],
        [dict(type='MultiStepLR', milestones=[-1, 5])],
        [dict(type='CosineAnnealingLR', T_max=0, end=5)],
        [dict(type='CosineAnnealingLR', eta_min=0)],
        [dict(type='mmengine.CosineAnnealingLR', by_epoch=False)],
        [dict(type='LinearLR', start_factor=0.1)],
        [dict(type='PolyLR', power=0.9)],
        [dict(type='OneCycleLR', eta_max=0.1)],
        [dict(type='ConstantLR', begin=5, end=5)],
        [dict(type='LinearLR', begin=7, end=5)],
    ],
    'train_dataloader__sampler__seed': [-1],
    'optim_wrapper__clip_grad': [dict(max_norm=-1.0)],
    'optim_wrapper__accumulative_counts': [0],
    'model__query_encoder__dept': [3],
    'train_dataloader__dataset__pipeline__0__num_frame': [3],
}


@pytest.mark.parametrize(
    ('setting', 'value'), [(k, v) for k, values in WRONG.items() for v in values]
)
def test_a_value_that_no_class_takes(small, setting, value):
    found = wrong_settings(small(**{setting: value}))
    path = setting.replace('__', '.')
    assert [name[: len(path)] for name in found] == [path]
    (line,) = found.values()
    assert line.startswith(path) and '\n' not in line


def test_counts_that_make_sense(small):
    schedules = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5),
        dict(type='CosineAnnealingLR', T_max=5, by_epoch=False, begin=5),
        dict(type='CosineAnnealingLR', begin=5, end=10),
        dict(type='CosineRestartLR', periods=[5, 5], restart_weights=[1, 1]),
        dict(type='ConstantLR', factor=0.5), dict(type='ExponentialLR', gamma=0.9),
        dict(type='MultiStepLR', milestones=[]), dict(type='StepLR', step_size=1),
    ]  # fmt: skip
    options: dict = dict(
        param_scheduler=schedules, train_cfg__val_begin=0,
        train_cfg__dynamic_intervals=[(0, 5), (10, 2)],
        default_hooks__checkpoint__interval=-1,
        default_hooks__checkpoint__max_keep_ckpts=-1,
        train_dataloader__prefetch_factor=None,
        auto_scale_lr=dict(base_batch_size=16),
        custom_hooks=[dict(type='HookOfOthers', interval=-1, part=dict(interval=0))],
    )  # fmt: skip
    assert wrong_settings(small(**options)) == {}


def test_kinds():
    assert fits(1e5, int, exact=False) and not fits(1e5, int)
    assert fits((1, 2), tuple[int, int]) and fits([1, 2], list[float])
    assert fits(None, int | None) and not fits('x', int | None)
    assert not fits('abc', list[str]) and fits(object(), object)
    assert kind_name(int | None) == 'a whole number or None'
    assert kind_name(list[int]) == 'a list of whole numbers'
    assert kind_name(dict[str, float]) == 'a dictionary'


def test_the_first_of_several_is_said_by_a_training(small):
    with pytest.raises(ConfigError, match=r'^one \(and 2 more: `coavt check` lists'):
        refuse(['one', 'two', 'three'])
    with pytest.raises(ConfigError, match='^one$'):
        refuse(['one'])
    refuse([])


# --------------------------------------------------------------------------------------
# Parts that don't fit
# --------------------------------------------------------------------------------------
MISFITS = {
    'spectrograms': (
        dict(model__data_preprocessor__spec_frames=16),
        'but the data_preprocessor makes spectrograms of (16, 128)',
    ),
    'pictures': (
        dict(model__av_encoder__img_size=64),
        'the pipeline makes pictures of 32 x 32 pixels, model.av_encoder.img_size',
    ),
    'a rate of sound': (
        dict(train_dataloader__dataset__pipeline__1__sample_rate=8000),
        'LoadAudio.sample_rate=8000 Hz, but the front end',
    ),
    'one clip': (
        dict(train_dataloader__batch_size=1, train_cfg__max_iters=10),
        'train_dataloader.batch_size=1: contrastive and matching losses',
    ),
    'classes without scores': (
        dict(val_evaluator__type='ClassificationMetric'),
        'ClassificationMetric needs class scores',
    ),
    'captions that nobody writes': (
        dict(val_evaluator=dict(type='CaptionMetric', tokenizer='words')),
        'CaptionMetric scores captions, which the model is not told to write',
    ),
    'no captions': (
        dict(val_dataloader__dataset__pipeline__2__fields=['audio_captions'],
             val_dataloader__dataset__ann_file='mute.jsonl'),
        'RetrievalMetric needs captions',
    ),
    'no sound': (
        dict(val_evaluator=dict(type='AVRetrievalMetric'), no_audio=True),
        'AVRetrievalMetric needs clips with sound and picture',
    ),
    'no labels': (
        dict(val_evaluator=dict(type='ZeroShotMetric', templates=['{}']),
             val_dataloader__dataset__ann_file='mute.jsonl'),
        'ZeroShotMetric needs labels',
    ),
    'no head': (
        dict(model__matching_head=None, val_evaluator__modes=['matching']),
        'asks the matching_head, which is None',
    ),
    'data for training': (
        dict(val_dataloader__dataset__test_mode=False),
        'val_dataloader.dataset.test_mode is not True',
    ),
    'the best by what is not there': (
        dict(default_hooks__checkpoint__save_best='retrieval/text_to_clip/AV/R@2'),
        "save_best='retrieval/text_to_clip/AV/R@2' is no number",
    ),
    'groups that are cut': (
        dict(train_dataloader__sampler__curriculum=[dict(group_size=3)]),
        'group_size=3: batches of 4 clips cut groups apart',
    ),
}  # fmt: skip


@pytest.fixture
def mute(data):
    """A manifest whose rows have nothing but a clip and a caption of its sound."""
    path = data / 'mute.jsonl'
    path.write_text(json.dumps(dict(id='m', clip='clip.mp4')) + '\n')
    return path


@pytest.mark.parametrize(('options', 'said'), MISFITS.values(), ids=MISFITS)
def test_parts_that_do_not_fit(small, mute, options, said):
    options = dict(options)
    no_audio = options.pop('no_audio', False)
    cfg = small(**options)
    if no_audio:
        cfg.val_dataloader.dataset.pipeline.pop(1)
    found = Check(cfg)
    _build(found)
    texts = [finding.text for finding in found.found if finding.kind != 'note']
    assert found.failed and any(said in text for text in texts), texts
    assert not any('\n' in text for text in texts)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (
            dict(train_cfg__val_interval=50),
            'one validation, at the end (val_interval=50)',
        ),
        (dict(train_cfg__val_begin=50), 'no validation (val_begin=50)'),
        (dict(default_hooks__checkpoint__interval=50), 'one checkpoint'),
        (dict(param_scheduler__1__end=50), 'planned for 50 and is cut off'),
        (
            dict(param_scheduler=[dict(type='LinearLR', by_epoch=False, end=15)]),
            'planned for 15 and stays at its last value',
        ),
    ],
)
def test_what_does_not_happen_within_the_run(small, options, said):
    fitting = dict(
        train_cfg__max_iters=20, train_cfg__val_begin=1, train_cfg__val_interval=10,
        default_hooks__checkpoint__interval=10, param_scheduler__1__begin=5,
        param_scheduler__1__end=20,
    )  # fmt: skip
    assert [*of_length(Parts(small(**fitting), val=[0]))] == []
    (note,) = of_length(Parts(small(**fitting | options), val=[0]))
    assert note.kind == 'note' and said in note.text


def test_a_schedule_that_ends_before_it_begins(small):
    (line,) = wrong_settings(small(param_scheduler__1__end=20)).values()
    assert 'param_scheduler.1: CosineAnnealingLR would begin at 560' in line
    assert 'set decay_from to less' in line
    of_two = dict(one=[dict(type='LinearLR', begin=7, end=5)], two=[])
    (line,) = wrong_counts(dict(param_scheduler=of_two)).values()
    assert line.startswith('param_scheduler.one.0: LinearLR would begin at 7')


# --------------------------------------------------------------------------------------
# The commands
# --------------------------------------------------------------------------------------
def run(command, capsys, *words):
    status = 0
    try:
        launch.run_tool(lambda: command([str(word) for word in words]))
    except SystemExit as ended:
        status = ended.code
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_run_that_is_ready(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(check, capsys, data / 'config.py', '--work-dir', 'run')
    assert status == 0 and err == ''
    lines = out.splitlines()
    assert lines[0] == 'checked config'
    assert lines[-1] == f'ready: coavt train {data / "config.py"}'
    named = {line.split()[0]: line for line in lines if line.startswith('  ')}
    assert [*named] == ['model', 'train', 'val', 'test', 'memory', 'time', 'disk']
    assert (
        'activations of 4 clips 0.0' in named['memory'] and '1 steps' in named['time']
    )
    assert os.listdir(tmp_path) == [], 'nothing is written'


def test_all_problems_at_once(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(
        check, capsys, data / 'config.py', '--cfg-options',
        'model.query_encoder.depth=1.5', 'model.av_encoder.num_heads=3',
        'val_dataloader.dataset.ann_file=no.jsonl', 'load_from=no.pth',
        'optim_wrapper.optimizer.lr=-1.0', 'default_hooks.checkpoint.save_best=x',
    )  # fmt: skip
    assert status == 1 and 'ready' not in out
    lines = err.splitlines()
    assert all(line.startswith('Error: ') for line in lines)
    for part in ('depth=1.5', 'num_heads 3', 'no.jsonl', 'no.pth', 'lr=-1.0: must be 0',
                 "save_best='x'"):  # fmt: skip
        assert sum(part in line for line in lines) == 1, (part, lines)
    assert os.listdir(tmp_path) == []


def test_a_training_refuses_the_same(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for option, said in (
        ('model.query_encoder.depth=1.5', 'QueryEncoder takes a whole number'),
        ('model.data_preprocessor.spec_frames=16', 'makes spectrograms of (16, 128)'),
    ):
        status, out, err = run(launch.train, capsys, data / 'config.py', '--work-dir',
                               'run', '--cfg-options', option)  # fmt: skip
        assert status == 1 and err.count('\n') == 1 and said in err
        assert os.listdir(tmp_path) == []


def test_an_error_in_an_own_part_has_a_place(small):
    check = Check(small())
    with check.attempt('a training step'):
        {}['wavefrm']
    (finding,) = check.found
    place = rf"a training step: KeyError: 'wavefrm' \({re.escape(__file__)}:\d+\)"
    assert re.fullmatch(place, finding.text)


def test_clips_that_can_not_be_read(small, data):
    (data / 'broken.mp4').write_bytes(b'no film')
    rows = [dict(id=str(i), clip='broken.mp4', captions=['x']) for i in range(3)]
    (data / 'broken.jsonl').write_text('\n'.join(map(json.dumps, rows)) + '\n')
    for split in ('train', 'val'):
        setting = f'{split}_dataloader__dataset__ann_file'
        found = check_config(small(**{setting: str(data / 'broken.jsonl')}))
        errors = [f.text for f in found.found if f.kind == 'error']
        notes = [f.text for f in found.found if 'another is drawn' in f.text]
        if split == 'train':
            assert len(notes) == 3 and 'train: 3 of 3 clips can not be' in errors[0]
        else:
            assert len(errors) == 3 and not notes and 'broken.mp4' in errors[0]


@pytest.mark.parametrize(
    'kept, expected', [({}, '0:03:20'), (dict(train_kept=0.02), '0:02:00')]
)
def test_clips_that_are_kept_cost_their_decoding_once(kept, expected):
    """2 s to read a batch, 1 s to train on it: 100 times, or 10 for either worker."""
    loader = dict(batch_size=10, num_workers=2)
    check = SimpleNamespace(
        cfg=Config(dict(train_dataloader=loader, train_cfg=dict(max_iters=100))),
        built=dict(train=range(100)),
        seconds=dict(step=1.0, train=0.4, **kept),
        bytes={},
    )
    (line,) = (line for line in report(check) if 'time' in line)
    assert f'about {expected} ' in line
    assert ('read a batch' in line) == (not kept)
