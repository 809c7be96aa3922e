"""The first and the last screen of a training and of a test."""

import contextlib
import io
import json
import re
import shlex
import warnings
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from mmengine.config import Config

from coavt_mm.cli import launch
from coavt_mm.cli.screen import _about_rate, forget_behind
from coavt_mm.cli.texts import cut_texts
from coavt_mm.config import load_config
from coavt_mm.datasets import AVTDataset

ROOT = Path(__file__).parents[2]
ONE = dict(streams=('A', 'V'), weights=dict(lm_head=1.0))
STAGES = [
    dict(epochs=2, captions=dict(visual_captions=1.0), **ONE),
    dict(epochs=2, captions=dict(audio_captions=1.0, visual_captions=1.0), **ONE),
    dict(hardness=2.0),
]


@pytest.fixture(scope='module')
def screens(data, tmp_path_factory):
    """The folder, and what a training of 15 steps of 2 of 6 clips, its resumption and a
    test have printed there; a warning of torch or python is an error."""
    home = tmp_path_factory.mktemp('home') / 'ein Lauf'
    home.mkdir()
    cfg = Config.fromfile(data / 'config.py')
    cfg.train_dataloader.update(batch_size=2, pin_memory=True)
    cfg.auto_scale_lr.base_batch_size = 2
    cfg.train_dataloader.sampler.curriculum = STAGES
    cfg.train_cfg.update(val_begin=9, val_interval=9)
    cfg.default_hooks.checkpoint.interval = 9
    cfg.default_hooks.logger.interval = 3
    cfg.log_processor.window_size = 3
    cfg.param_scheduler = [dict(type='LinearLR', by_epoch=False, end=15)]
    cfg.dump(home / 'small.py')
    said = {}

    def run(name, command, *words):
        out = io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            warnings.catch_warnings(),
        ):
            patch.chdir(home)
            warnings.simplefilter('error', UserWarning)
            command([*words, f'experiment_name={uuid4().hex}'])
        said[name] = out.getvalue()

    train = ['small.py', '--work-dir', 'run']
    run('train', launch.train, *train, '--cfg-options', 'train_cfg.max_iters=15')
    run('resume', launch.train, *train, '--resume', '--cfg-options',
        'train_cfg.max_iters=18', 'param_scheduler.0.end=18')  # fmt: skip
    run('test', launch.test, 'run/small.py', 'run/iter_18.pth', '--work-dir', 'test',
        '--cfg-options', 'test_evaluator.out_dir=the results',
        'test_dataloader.dataset.pipeline.TokenizeText.max_tokens=4')  # fmt: skip
    return home, said


def block(text, title):
    """Name -> text of a list behind a title."""
    lines = text.partition(title)[2].splitlines()[1:]
    found = {}
    for line in lines:
        if not line.startswith('  '):
            break
        name, _, value = line.strip().partition('  ')
        found[name] = value.strip()
    return found


def test_the_first_screen_of_a_training(screens):
    _, said = screens
    first, loss, _ = said['train'].partition('Iter(train)')
    assert loss and first.count('\n') < 40
    for noise in ('WARNING', 'paramwise_options', 'Hooks will', 'Config:', 'SyncBN'):
        assert noise not in first
    told = block(said['train'], 'training small')
    assert re.fullmatch(
        r'CoAVT, 0\.\d M parameters, 0\.\d M of them trained', told['model']
    )
    assert told['clips'].startswith('6 clips of ')
    assert told['clips'].endswith('Töne und Bilder/train.jsonl')
    assert told['validation'].endswith('val.jsonl, every 9 steps')
    assert told['batch'].startswith('2 clips x 1 = 2 on 1 ')
    assert told['steps'] == '15, 5.0 epochs'
    assert told['texts'] == 'none of 18 is longer than max_tokens=48'
    assert told['work dir'] == 'run'
    assert [*told] == [
        'model', 'start', 'clips', 'validation', 'batch', 'steps', 'texts', 'work dir',
        'details',
    ]  # fmt: skip
    assert re.search(
        r's a step: the end is expected at \d\d \w+ .*, in 0:\d\d:\d\d, validation not '
        r'counted; memory: \d+\.\d',
        said['train'],
    )


def test_details_are_in_the_log(screens):
    home, said = screens
    log = home / block(said['train'], 'training small')['details'].partition(' (')[0]
    text = log.read_text('utf-8')
    for detail in (
        'paramwise_options',
        'Hooks will be executed',
        'Config:',
        'training',
    ):
        assert detail in text


def test_stages_are_said_and_what_is_off_is_not_logged(screens):
    home, said = screens
    both = said['train'] + said['resume']
    stages = re.findall(r'iteration (\d+): ([^:]+):', both)
    assert stages == [
        ('0', 'picture begins (stage 1 of 3)'),
        ('6', 'sound joins (stage 2 of 3)'),
        ('12', 'sound with picture joins (stage 3 of 3)'),
    ]
    rows = (home / 'run/vis_data/scalars.json').read_text().splitlines()
    rows = [row for row in map(json.loads, rows) if 'loss' in row]
    assert [row['step'] for row in rows] == [3, 6, 9, 12, 15, 18]
    ends = [{n[-2:].strip('_') for n in row if n.startswith('loss_')} for row in rows]
    assert ends[:2] == [{'V'}] * 2 and ends[2] == {'A', 'V'}
    assert ends[-1] == {'AV', 'A', 'V'}


def test_the_last_screen_of_a_training(screens):
    home, said = screens
    told = block(said['train'], 'trained 15 steps')
    assert told['last checkpoint'] == 'run/iter_15.pth'
    assert re.fullmatch(
        r'run/best_.*_iter_\d+\.pth \(by retrieval/.*/R@1\)', told['best checkpoint']
    )
    assert told['curves'] == 'run/vis_data/scalars.json'
    words = shlex.split(told['go on with'])
    assert words[:3] == ['coavt', 'test', 'run/small.py']
    assert (home / words[2]).is_file() and (home / words[3]).is_file()
    for name in ('curves', 'log', 'last checkpoint'):
        assert (home / told[name]).is_file()
    resumed = block(said['resume'], 'training small')
    assert resumed['start'] == 'run/iter_15.pth, resumed at step 15'


def test_the_screens_of_a_test(screens):
    home, said = screens
    told = block(said['test'], 'testing small')
    assert told['checkpoint'] == 'run/iter_18.pth'
    assert told['texts'] == '6 of 18, 33 %, are cut at max_tokens=4'
    assert 'texts cut 6 of 18, 33 %' in (home / 'the results/retrieval.md').read_text()
    last = block(said['test'], '- tested')
    assert last['results'] == 'the results/: retrieval.json, retrieval.md'
    assert said['test'].rstrip().endswith(last['log'])
    for name in ('all numbers', 'log'):
        assert (home / last[name]).is_file()
    assert 'Iter(test) [2/2]' not in said['test']  # the table has its numbers


def test_curves_lie_in_one_place_and_those_of_another_run_aside(screens, monkeypatch):
    home, _ = screens
    monkeypatch.chdir(home)
    for _ in range(2):
        launch.train(
            ['small.py', '--work-dir', 'again', '--cfg-options',
             'train_cfg.max_iters=3', f'experiment_name={uuid4().hex}']
        )  # fmt: skip
    places = sorted(p.parent.name for p in (home / 'again').rglob('scalars.json'))
    assert places[0] == 'vis_data' and re.fullmatch(r'vis_data_\d{8}_\d{6}', places[1])
    assert len(places) == 2


def test_steps_that_are_trained_once_more_have_one_point(tmp_path):
    curves = tmp_path / 'scalars.json'
    forget_behind(curves, 3)  # a run that wrote none
    curves.write_text(
        '{"loss": 1.0, "step": 3}\n{"R@1": 2.0, "step": 3}\n{"step": 4}\n'
    )
    forget_behind(curves, 3)
    assert curves.read_text() == '{"loss": 1.0, "step": 3}\n{"R@1": 2.0, "step": 3}\n'


def test_the_documentation_shows_these_screens(screens):
    _, said = screens
    docs = Path(__file__).parents[2] / 'docs'
    training = (docs / 'training.md').read_text('utf-8')
    first = block(training, 'training pretrain_demo')
    assert [*first] == [*block(said['train'], 'training small')]
    last = block(training, 'trained 12 steps')
    both = block(said['train'], 'trained 15 steps')
    assert [*last] == [*both]
    for text in (training, said['train']):
        assert re.search('health: temperature .*; rank text .*; data wait', text)
        began = r'iteration 0: (sound and )?picture begins? \(stage 1 of \d\): losses'
        assert re.search(began, text)
        assert 's a step: the end is expected at ' in text
    told = block((docs / 'retrieval.md').read_text('utf-8'), '- tested')
    kept = [name for name in told if name not in ('numbers', 'plots')]
    assert kept == [*block(said['test'], '- tested')]


def test_other_processes_are_quiet(screens, monkeypatch, tmp_path):
    home, _ = screens
    out = io.StringIO()
    monkeypatch.setenv('RANK', '1')
    monkeypatch.chdir(home)
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        launch._prepare(
            SimpleNamespace(config='small.py', cfg_options={}, launcher='none',
                            work_dir=str(tmp_path / 'x'), local_rank=1),
            [], None,
        )  # fmt: skip
        print('something')
        warnings.warn('something', stacklevel=1)
    assert out.getvalue() == ''


@pytest.mark.parametrize(
    ('clips', 'counts', 'scaling', 'said'),
    [
        (256, 1, dict(base_batch_size=256), False),
        (64, 4, dict(base_batch_size=256), False),
        (512, 1, dict(base_batch_size=256), True),
        (512, 1, dict(base_batch_size=256, enable=True), False),
        (512, 1, {}, False),
    ],
)
def test_a_learning_rate_for_other_batches_is_said(clips, counts, scaling, said):
    runner = SimpleNamespace(
        cfg=Config(dict(auto_scale_lr=scaling)),
        optim_wrapper=SimpleNamespace(_accumulative_counts=counts),
    )
    lines = _about_rate(runner, clips)
    assert bool(lines) == said
    assert not said or ('256 clips a step' in lines[0] and 'max_iters' in lines[0])


def test_a_recipe_is_as_many_epochs_with_other_batches():
    path = str(ROOT / 'configs/coavt/pretrain_vggsound.py')
    one, two = load_config(path), load_config(path, {'batch': 512})
    assert one.train_cfg.max_iters // 2 == two.train_cfg.max_iters
    assert two.param_scheduler[1].end == two.train_cfg.max_iters
    assert one.train_cfg.val_interval // 2 == two.train_cfg.val_interval


def test_of_many_clips_some_are_looked_at(data, monkeypatch):
    monkeypatch.setattr('coavt_mm.cli.texts.LOOKED_AT', 2)
    pipeline = [
        dict(type='AllCaptions', fields=('captions',)),
        dict(type='IfVisual', transforms=[
            dict(type='TokenizeText', tokenizer=str(data / 'vocab.txt'), max_tokens=5)
        ]),
    ]  # fmt: skip
    dataset = AVTDataset('train.jsonl', str(data), pipeline)
    assert (
        cut_texts(dataset) == '2 of 2 (of 2 of 6 clips), 100 %, are cut at max_tokens=5'
    )
    both = SimpleNamespace(datasets=[dataset, dataset])
    assert '(of 4 of 12 clips)' in cut_texts(both)
    assert cut_texts(AVTDataset('train.jsonl', str(data), [])) == ''
