import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.logging import MMLogger
from mmengine.utils import digit_version

from coavt_mm.cli import launch
from coavt_mm.config import load_config, set_work_dir
from coavt_mm.engine.running import build_runner, set_resume
from coavt_mm.errors import CheckpointError, ClipError, CoAVTError, ConfigError

ROOT = Path(__file__).parents[2]


def run_script(*command, cwd=ROOT, **environment):
    """Run a tool as a user does; returns the finished process."""
    paths = f'{ROOT}{os.pathsep}{ROOT / "tests"}'
    env = {**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1', **environment}
    return subprocess.run(
        [str(part) for part in command],
        env=env,
        capture_output=True,
        text=True,
        timeout=800,
        cwd=cwd,
    )


def test_train_resume_and_test(toy_config, tmp_path, capsys):
    common = [toy_config, '--work-dir', str(tmp_path)]
    launch.train([*common, '--seed', '11', '--cfg-options', 'train_cfg.max_iters=4'])
    first = torch.load(tmp_path / 'iter_4.pth', weights_only=False)
    assert first['meta']['seed'] == 11
    launch.train([*common, '--resume'])
    assert (tmp_path / 'iter_7.pth').is_file()
    metrics = launch.test([toy_config, str(tmp_path / 'iter_7.pth'), *common[1:]])
    assert metrics == {'count': 7, 'shared': 1.0}


def test_resume_by_path_and_automatic(toy_cfg, tmp_path):
    cfg = toy_cfg(load_from='pretrained.pth')
    set_resume(cfg, None)
    assert cfg.load_from == 'pretrained.pth' and not cfg.get('resume')
    set_resume(cfg, 'auto')  # nothing to go on from: as without
    assert cfg.load_from == 'pretrained.pth' and not cfg.get('resume')
    set_resume(cfg, 'some.pth')
    assert (cfg.load_from, cfg.resume) == ('some.pth', True)


def source_of_a_marker(marker):
    return f"__import__('pathlib').Path({str(marker)!r}).touch()\n"


@pytest.mark.parametrize('door', ['--resume', 'resume=True', 'last_checkpoint'])
def test_resume_executes_nothing_of_the_checkpoint(toy_config, tmp_path, door):
    work_dir = tmp_path / 'run'
    command = [toy_config, '--work-dir', str(work_dir)]
    launch.train([*command, '--cfg-options', 'train_cfg.max_iters=1'])
    path = work_dir / 'iter_1.pth'
    content = torch.load(path, weights_only=False)
    content['meta']['config'] = source_of_a_marker(tmp_path / 'MARK')
    torch.save(content, path)
    Path(f'{path}.sha256').unlink()  # changed on purpose
    options = ['--cfg-options', 'train_cfg.max_iters=2']
    if door == '--resume':
        launch.train([*command, '--resume', str(path), *options])
    elif door == 'last_checkpoint':
        launch.train([*command, '--resume', *options])
    else:
        launch.train([*command, *options, 'resume=True', f'load_from={path}'])
    assert (work_dir / 'iter_2.pth').is_file()
    assert not (tmp_path / 'MARK').exists()


def test_resume_from_weights_alone_is_refused(toy_config, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, line: lines.append(line))
    command = [toy_config, '--work-dir', str(tmp_path)]
    launch.train([*command, '--cfg-options', 'train_cfg.max_iters=1'])
    content = torch.load(tmp_path / 'iter_1.pth', weights_only=False)
    del content['optimizer']
    torch.save(content, tmp_path / 'best.pth')
    resume = [*command, '--cfg-options', 'train_cfg.max_iters=2', '--resume']
    launch.train([*resume, str(tmp_path / 'best.pth')])
    assert any('no optimizer: they begin anew' in line for line in lines)
    for key in ('meta', 'message_hub'):
        weights = {k: v for k, v in content.items() if k != key}
        torch.save(weights, tmp_path / 'weights.pth')
        with pytest.raises(CheckpointError, match='no run to resume'):
            launch.train([*resume, str(tmp_path / 'weights.pth')])
    for seed in ('abc', -1, 1.5):
        meta = dict(content['meta'], seed=seed)
        torch.save(dict(content, meta=meta), tmp_path / 'weights.pth')
        with pytest.raises(CheckpointError, match=r'its seed is'):
            launch.train([*resume, str(tmp_path / 'weights.pth')])


def test_a_run_in_a_folder_of_any_name(toy_config, tmp_path, monkeypatch):
    """Work dirs are relative to where one is; nothing is written elsewhere."""
    home = Path(toy_config).parent
    before = sorted(p.name for p in home.iterdir())
    here = tmp_path / 'Ort mit Lücke, 映画'
    here.mkdir()
    monkeypatch.chdir(here)
    command = [toy_config, '--work-dir', 'läufe/erster lauf']
    launch.train([*command, '--cfg-options', 'train_cfg.max_iters=1'])
    launch.train([*command, '--resume', '--cfg-options', 'train_cfg.max_iters=2'])
    launch.test([toy_config, 'läufe/erster lauf/iter_2.pth', '--work-dir', 'test'])
    assert sorted(p.name for p in here.iterdir()) == ['läufe', 'test']
    assert sorted(p.name for p in home.iterdir()) == before


def test_resume_from_a_work_dir_that_has_moved(toy_cfg, tmp_path):
    cfg = toy_cfg(work_dir=str(tmp_path))
    torch.save({}, tmp_path / 'iter_3.pth')
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/run/iter_3.pth')
    set_resume(cfg, 'auto')
    assert (cfg.load_from, cfg.resume) == (str(tmp_path / 'iter_3.pth'), True)


@pytest.mark.parametrize(
    'named',
    [
        b'http://127.0.0.1:9/iter_3.pth',
        b'',
        b'gone.pth',
        b'\xff\xfe',
        b's3://b/iter_3.pth',
    ],
)
def test_a_note_of_the_last_checkpoint_names_local_files_only(
    toy_cfg, tmp_path, monkeypatch, named
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'iter_3.pth').touch()
    shipped = tmp_path / 'http:' / '127.0.0.1:9' / 'iter_3.pth'
    shipped.parent.mkdir(parents=True)
    shipped.touch()
    (tmp_path / 'last_checkpoint').write_bytes(named)
    with pytest.raises(CheckpointError, match='last_checkpoint: names .*--resume CHE'):
        set_resume(toy_cfg(work_dir=str(tmp_path)), 'auto')


@pytest.mark.parametrize(
    'address', ['s3://b/x.pth', 'petrel:s3://b/x.pth', 'torchvision://resnet50']
)
def test_addresses_that_are_not_read_safely_are_refused(toy_cfg, address):
    with pytest.raises(ConfigError, match='read from disk, http:// and https://'):
        build_runner(toy_cfg(load_from=address))


def test_loaders_without_workers(toy_config, tmp_path):
    """What only workers have may stay in the config."""
    names = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    of_workers = ('persistent_workers=True', 'prefetch_factor=4', 'timeout=9')
    options = [f'{name}.{option}' for name in names for option in of_workers]
    common = [toy_config, '--work-dir', str(tmp_path), '--cfg-options']
    launch.train([*common, 'train_cfg.max_iters=3', *options])
    checkpoint = str(tmp_path / 'iter_3.pth')
    assert launch.test([toy_config, checkpoint, *common[1:], *options])['count'] == 7


def test_loaders_with_workers_keep_what_they_have(toy_cfg):
    cfg = toy_cfg(
        train_dataloader__num_workers=1, train_dataloader__persistent_workers=True
    )
    build_runner(cfg)
    assert cfg.train_dataloader.persistent_workers is True


def test_a_metric_that_is_not_there_does_not_end_the_run(
    toy_config, tmp_path, monkeypatch
):
    lines = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, line: lines.append(line))
    options = ['train_cfg.max_iters=4', 'default_hooks.checkpoint.save_best=cuont',
               'default_hooks.checkpoint.rule=greater']  # fmt: skip
    launch.train([toy_config, '--work-dir', str(tmp_path), '--cfg-options', *options])
    (line,) = [line for line in lines if 'save_best' in line]
    assert "save_best='cuont' is no metric" in line and 'nearest is count' in line
    assert (tmp_path / 'iter_4.pth').is_file()


def test_a_work_dir_that_takes_nothing_is_one_line(toy_cfg, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    for path in ('file', 'file/run'):
        with pytest.raises(ConfigError, match=f'{path}: nothing can be .*--work-dir'):
            build_runner(toy_cfg(work_dir=str(tmp_path / path)))
    monkeypatch.setattr(os, 'access', lambda *_: False)  # read-only, to anyone
    with pytest.raises(ConfigError, match='Permission denied'):
        build_runner(toy_cfg(work_dir=str(tmp_path)))


def test_work_dir_order(toy_cfg):
    cfg = toy_cfg()
    set_work_dir(cfg)
    assert cfg.work_dir.endswith('run')
    set_work_dir(cfg, 'elsewhere')
    assert cfg.work_dir == 'elsewhere'
    cfg.work_dir = None
    set_work_dir(cfg)
    assert cfg.work_dir == os.path.join('work_dirs', 'toy')


def test_unknown_config_names_the_nearest(tmp_path, monkeypatch):
    folder = tmp_path / 'configs' / 'coavt'
    folder.mkdir(parents=True)
    (folder / 'pretrain_toy_points.py').write_text('')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match='nearest is .*pretrain_toy_points.py'):
        load_config('configs/coavt/pretrain_toy_point.py')
    with pytest.raises(ConfigError, match='no such config'):
        load_config('qqqqqqqqqqqq.py')


@pytest.mark.parametrize(
    'name, text',
    [
        ('broken.py', "_base_ = './absent.py'\n"),
        ('broken.py', 'model = dict(\n'),
        ('broken.py', 'x = 1 +'),
        ('broken.py', 'x = unknown'),
        ('broken.py', 'x = 1 / 0'),
        ('broken.json', '{"x": '),
        ('broken.yaml', 'x: [1'),
        ('broken.txt', 'x = 1'),
    ],
)
def test_broken_config_is_one_error(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=f'{name}: cannot be read') as caught:
        load_config(str(path))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('before', ['module._orig_mod.', '_orig_mod.module.'])
def test_wrapped_weights_are_tested_and_started_from(toy_config, tmp_path, before):
    command = [toy_config, '--work-dir', str(tmp_path), '--cfg-options']
    launch.train([*command, 'train_cfg.max_iters=1'])
    path = tmp_path / 'iter_1.pth'
    content = torch.load(path, weights_only=False)
    state, average = content['state_dict'], content['ema_state_dict']
    content['state_dict'] = {before + name: value for name, value in state.items()}
    content['ema_state_dict'] = {
        name.replace('module.', f'module.{before}'): value
        for name, value in average.items()
    }
    torch.save(content, path)
    Path(f'{path}.sha256').unlink()  # changed on purpose
    launch.test([toy_config, str(path), *command[1:3]])  # refuses a misfit
    options = ['train_cfg.max_iters=2', 'optim_wrapper.optimizer.lr=0.0']
    launch.train([*command, *options, '--resume', str(path)])
    again = torch.load(tmp_path / 'iter_2.pth', weights_only=False)
    assert again['state_dict'].keys() == state.keys()
    options = ['train_cfg.max_iters=3', 'optim_wrapper.optimizer.lr=0.0']
    launch.train([*command, *options, f'load_from={path}'])


def test_options_are_checked_and_merged(toy_config):
    cfg = load_config(toy_config, {'model.width': 6})
    assert cfg.model.width == 6
    with pytest.raises(ConfigError, match='model.width'):
        load_config(toy_config, {'model.wdth': 6})


def test_one_line_unwraps_messages():
    worker = (
        'Caught ClipError in DataLoader worker process 0.\nOriginal Traceback (most '
        'recent call last):\n  File "x.py", line 1\ncoavt_mm.errors.ClipError: a.mp4: '
        'cut off;\n see the log'
    )
    assert launch.one_line(ClipError(worker)) == 'a.mp4: cut off; see the log'
    built = 'class `CoAVT` in coavt_mm/models/coavt.py: widths differ'
    assert launch.one_line(ConfigError(built)) == 'widths differ'
    assert launch.one_line(CoAVTError('plain: message')) == 'plain: message'


@pytest.mark.parametrize('rank, start', [('0', ''), ('3', r'\[rank 3\] ')])
def test_run_tool_prints_one_line(capsys, monkeypatch, rank, start):
    def fail():
        raise CheckpointError('a.pth: damaged.')

    monkeypatch.setenv('RANK', rank)
    with pytest.raises(SystemExit) as caught:
        launch.run_tool(fail)
    assert caught.value.code == 1
    assert re.fullmatch(start + 'Error: a.pth: damaged.\n', capsys.readouterr().err)


def test_a_folder_that_can_not_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit):
        launch.run_tool((tmp_path / 'file' / 'folder').mkdir)
    said = capsys.readouterr().err
    assert said == f'Error: {tmp_path}/file/folder: Not a directory\n'
    for fault in (OSError('no file in it'), KeyError('a fault of ours')):
        with pytest.raises(type(fault)):
            launch.run_tool(lambda fault=fault: (_ for _ in ()).throw(fault))


@pytest.mark.skipif(sys.platform != 'linux', reason="GNU's OpenMP")
@pytest.mark.parametrize(
    'said, waits',
    [
        ({}, "GOMP_SPINCOUNT = '1000'"),
        ({'GOMP_SPINCOUNT': '70'}, "GOMP_SPINCOUNT = '70'"),
        ({'OMP_WAIT_POLICY': 'passive'}, "GOMP_SPINCOUNT = '0'"),
    ],
)
def test_threads_spin_briefly(monkeypatch, said, waits):
    """OpenMP itself tells how its threads wait, once a tool has loaded torch."""
    code = (
        'from coavt_mm.cli.launch import run_tool\n'
        'run_tool(lambda: __import__("torch"))'
    )
    for name in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'):
        monkeypatch.delenv(name, raising=False)
    done = run_script(sys.executable, '-c', code, OMP_DISPLAY_ENV='verbose', **said)
    assert waits in done.stderr


@pytest.mark.parametrize('error', [None, CheckpointError('a.pth: damaged.')])
def test_run_tool_closes_the_process_group(tmp_path, error):
    """Only after success: another rank may still wait in a collective."""

    def main():
        dist.init_process_group(
            'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
        )
        if error is not None:
            raise error

    with pytest.raises(SystemExit) if error else nullcontext():
        launch.run_tool(main)
    hangs = digit_version(torch.__version__) < digit_version('2.7')
    assert dist.is_initialized() == (error is not None or hangs)
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.parametrize('workers', [0, 1])
def test_bad_sample_ends_training_with_one_line(toy_config, tmp_path, capsys, workers):
    command = [toy_config, '--work-dir', str(tmp_path), '--cfg-options']
    options = [
        'train_dataloader.dataset.broken=7',
        f'train_dataloader.num_workers={workers}',
    ]
    with pytest.raises(SystemExit):
        launch.run_tool(lambda: launch.train([*command, *options]))
    expected = 'Error: clips/7.mp4: cannot be decoded; remove it.\n'
    assert capsys.readouterr().err.endswith(expected)


def test_checkpoint_of_another_config_is_refused(toy_config, tmp_path):
    common = ['--work-dir', str(tmp_path), '--cfg-options']
    launch.train([toy_config, *common, 'train_cfg.max_iters=1'])
    checkpoint = str(tmp_path / 'iter_1.pth')
    with pytest.raises(CheckpointError, match='does not fit this config'):
        launch.test([toy_config, checkpoint, *common, 'model.width=5'])


@pytest.mark.slow
def test_tool_reports_a_typo_and_fails(toy_config):
    done = run_script(
        sys.executable, 'tools/train.py', toy_config, '--cfg-options', 'model.wdth=1'
    )
    assert done.returncode == 1
    assert "nearest valid key is 'model.width'" in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_two_processes_train_and_test(toy_config, tmp_path):
    """The launch scripts on a machine without GPUs: gloo, equal parameters."""
    environment = {
        'PYTHON': sys.executable,
        'CUDA_VISIBLE_DEVICES': '',
        'cwd': tmp_path,
    }
    work_dir = ['--work-dir', tmp_path]
    done = run_script(
        'bash', ROOT / 'tools/dist_train.sh', toy_config, '2', *work_dir, **environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    saved = torch.load(tmp_path / 'iter_7.pth', weights_only=False)
    assert saved['meta']['iter'] == 7
    info = saved['message_hub']['runtime_info']
    assert info['samples_seen'] == 28  # 7 batches of 2 in 2 processes
    done = run_script(
        'bash',
        ROOT / 'tools/dist_test.sh',
        toy_config,
        tmp_path / 'iter_7.pth',
        '2',
        *work_dir,
        **environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    logs = ''.join(p.read_text() for p in tmp_path.rglob('*.json'))
    assert '"count": 7' in logs


def test_an_interrupted_training_says_how_to_go_on(toy_config, tmp_path, monkeypatch):
    def stop(cfg, loaders):
        raise KeyboardInterrupt

    monkeypatch.setattr('coavt_mm.cli.running.run_training', stop)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CoAVTError, match='--resume goes on .* checkpoint in run$'):
        launch.train([toy_config, '--work-dir', 'run'])
