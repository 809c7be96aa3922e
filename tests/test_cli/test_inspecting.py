"""The tools that look at configs, data, schedules and logs, run on the demo."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from coavt_mm.analysis.logs import panels, read_run, step_times
from coavt_mm.analysis.schedules import planned_panels
from coavt_mm.checkpoints.own import publish
from coavt_mm.cli import inspecting
from coavt_mm.demo import Settings, make_sounding_shapes
from coavt_mm.errors import CheckpointError, CoAVTError, ConfigError

CONFIGS = Path(__file__).parents[2] / 'configs/coavt'
DEMO = str(CONFIGS / 'pretrain_demo.py')


@pytest.fixture(scope='module')
def demo_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('demo')
    clips = Settings(train_clips=4, test_clips=3, val_clips=3)
    make_sounding_shapes(root / 'data/sounding_shapes', clips, 1)
    return root


def write_log(folder, rows):
    path = folder / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(json.dumps(row) for row in rows))
    return path


def train_row(step, loss, time=0.5):
    return dict(lr=0.1, loss=loss, time=time, data_time=time / 5, iter=step, step=step)


def test_print_config_has_bases_and_options_merged(capsys):
    inspecting.print_config([DEMO, '--cfg-options', 'train_cfg.max_iters=7'])
    printed = Config.fromstring(capsys.readouterr().out, '.py')
    assert printed.train_cfg.max_iters == 7
    assert printed.default_hooks.timer.type == 'IterTimerHook'  # of a base


@pytest.mark.parametrize(('name', 'phase'), [('pretrain_demo', 'train'),
                                             ('cls_demo', 'train'),
                                             ('retrieval_demo', 'test')])  # fmt: skip
def test_browse_dataset(name, phase, demo_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(demo_folder)
    config = str(CONFIGS / f'{name}.py')
    inspecting.browse_dataset([config, '-o', str(tmp_path), '-p', phase, '-n', '2'])
    written = capsys.readouterr().out.split()
    assert len(written) == 2 and all(Path(file).is_file() for file in written)
    with pytest.raises(ConfigError, match='1 or more'):
        inspecting.browse_dataset([config, '-n', '0'])


def test_vis_scheduler_has_the_rate_and_the_curriculum(tmp_path, capsys):
    cfg = Config.fromfile(DEMO)
    rate, *stages = planned_panels(cfg, size=3000)
    (places, values), *_ = rate.lines.values()
    warm_up = cfg.param_scheduler[0]
    assert values[0] == pytest.approx(cfg.optim_wrapper.optimizer.lr * 0.01)
    assert values[warm_up.end] == pytest.approx(cfg.optim_wrapper.optimizer.lr)
    assert places[-1] == cfg.train_cfg.max_iters - 1 and values[-1] < 2e-5
    assert {panel.name for panel in stages} >= {'stage', 'hardness', 'group size'}
    ((places, numbers),) = next(p for p in stages if p.name == 'stage').lines.values()
    begin = next(x for x, number in zip(places, numbers, strict=True) if number == 1)
    assert begin == 2 * -(-3000 // 64)  # the first stage has 2 epochs of batches of 64
    file = tmp_path / 'plan.png'
    inspecting.vis_scheduler([DEMO, '-d', '3000', '-s', str(file)])
    assert capsys.readouterr().out.strip() == str(file) and file.is_file()


def test_vis_scheduler_by_epochs_and_processes():
    cfg = Config.fromfile(CONFIGS / 'cls_demo.py')
    size = cfg.train_dataloader.batch_size * 12
    alone, halved = (planned_panels(cfg, size=size, processes=n)[0] for n in (1, 2))
    ends = [next(iter(panel.lines.values()))[0][-1] for panel in (alone, halved)]
    assert ends == [12 * cfg.train_cfg.max_epochs - 1, 6 * cfg.train_cfg.max_epochs - 1]


def test_logs_of_a_resumed_run_and_of_several(tmp_path, capsys):
    a, b = tmp_path / 'a', tmp_path / 'b'
    first = [train_row(1, 3.0, 9.0), train_row(2, 2.0), train_row(3, 8.0)]
    first.append({'retrieval/text_to_clip/AV/R@1': 40.0, 'time': 77.0, 'step': 3})
    write_log(a / '20260101_000000', first)
    write_log(a / '20260102_000000', [train_row(3, 1.5, 0.7)])
    log = write_log(b, [train_row(1, 4.0), train_row(2, 3.0)])
    series = read_run(a)
    assert series['loss'] == ([1, 2, 3], [3.0, 2.0, 1.5])
    assert step_times(series) == pytest.approx(
        dict(mean=0.6, std=0.1, slowest=0.7, fastest=0.5, data_share=0.2)
    )
    assert step_times(series, include_outliers=True)['slowest'] == 9.0
    drawn = panels(dict(a=series, b=read_run(log)))
    assert [(panel.name, [*panel.lines]) for panel in drawn] == [
        ('loss', ['a', 'b']),
        ('retrieval/text_to_clip/AV/R@1', ['a']),
    ]
    out = tmp_path / 'curves.png'
    inspecting.analyze_logs(['plot_curve', str(a), str(b), '--out', str(out)])
    assert out.is_file()
    inspecting.analyze_logs(['cal_train_time', str(a), str(b)])
    assert '| a | 0.6000 |' in capsys.readouterr().out


def test_logs_that_are_none(tmp_path):
    with pytest.raises(CoAVTError, match='neither a work dir'):
        read_run(tmp_path)
    (tmp_path / 'x.json').write_text('no json')
    with pytest.raises(CoAVTError, match='no log of mmengine'):
        read_run(tmp_path / 'x.json')
    log = write_log(tmp_path / 'run', [train_row(1, 2.0)])
    with pytest.raises(CoAVTError, match="logged 'los'; there are lr, loss"):
        inspecting.analyze_logs(['plot_curve', str(log), '--keys', 'los'])


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_published_weights_bear_their_hash(suffix, tmp_path, capsys):
    source = tmp_path / 'iter_1.pth'
    saved = dict(state_dict=dict(w=torch.ones(3)), optimizer=dict(x=1), meta={})
    torch.save(saved, source)
    inspecting.publish_model([str(source), str(tmp_path / f'coavt{suffix}')])
    path = Path(capsys.readouterr().out.strip())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f'coavt-{digest[:8]}{suffix}'
    assert {*tmp_path.iterdir()} == {source, path}
    if suffix == '.pth':
        assert publish(source, tmp_path / 'coavt.pth') == path  # the same again
        assert 'optimizer' not in torch.load(path, weights_only=True)
    with pytest.raises(CheckpointError, match='must end with'):
        publish(source, tmp_path / 'coavt.bin')
