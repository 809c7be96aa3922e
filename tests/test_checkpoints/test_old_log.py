"""Pickled training logs: refused at every door, read by ``coavt convert log`` alone."""

import shutil
from uuid import uuid4

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from coavt_mm import compat
from coavt_mm.apis import load_model
from coavt_mm.checkpoint_files import load_from_http, load_from_local
from coavt_mm.checkpoints import (
    convert_bert,
    convert_cavmae,
    convert_log,
    export_safetensors,
    load_weights,
)
from coavt_mm.checkpoints.own import publish
from coavt_mm.cli import launch
from coavt_mm.cli.main import main
from coavt_mm.errors import CheckpointError
from coavt_mm.evaluation.records import read_records


class Calls:
    """Written as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def save_as_mmengine(path, **more):
    """A checkpoint with a pickled log, as mmengine's own hook leaves it."""
    log = dict(loss=HistoryBuffer([0.5, 1 / 3], [1, 2]), lr=HistoryBuffer([1], [1]))
    hub = dict(log_scalars=log, runtime_info=dict(iter=2), resumed_keys=dict(loss=True))
    content = dict(
        meta=dict(iter=2, epoch=0, seed=3),
        state_dict=dict(w=torch.arange(3.0)),
        message_hub=hub,
        optimizer=dict(state={}, param_groups=[dict(lr=np.float64(0.1))]),
    )
    torch.save({**content, **more}, path)
    return content


def test_the_conversion_changes_the_log_alone(tmp_path, capsys):
    old, new = tmp_path / 'old.pth', tmp_path / 'new.pth'
    content = save_as_mmengine(old)
    (tmp_path / 'new.pth.sha256').write_text('0' * 64)
    main(['convert', 'log', str(old), str(new)])
    assert '2 scalars of the training log' in capsys.readouterr().out
    read = load_from_local(str(new))
    torch.load(new, weights_only=False)  # without a stand-in
    assert read.keys() == content.keys() and read['meta'] == content['meta']
    assert torch.equal(read['state_dict']['w'], content['state_dict']['w'])
    assert read['optimizer'] == content['optimizer']
    hub, before = read['message_hub'], content['message_hub']
    for name, history in before.pop('log_scalars').items():
        again = hub['log_scalars'][name]
        assert [*map(list, again.data)] == [*map(list, history.data)]
        assert [x.dtype for x in again.data] == [x.dtype for x in history.data]
    assert {**hub, **before} == hub
    assert sorted(p.name for p in tmp_path.iterdir()) == ['new.pth', 'old.pth']


def test_in_place_and_again(tmp_path):
    path = tmp_path / 'a.pth'
    save_as_mmengine(path)
    assert convert_log(path, path) == convert_log(path, path) == 2
    assert load_from_local(str(path))['message_hub']['log_scalars']['lr'].mean() == 1


EVIL = {
    'a method': Calls(getattr, HistoryBuffer, '__init__'),
    'a method of a buffer': Calls(getattr, HistoryBuffer([1], [1]), 'mean'),
    'a class': Calls(getattr, np.ndarray, 'tofile'),
    'three arguments': Calls(getattr, HistoryBuffer, 'mean', 5),
    'a call of a statistic': Calls(HistoryBuffer, [1], [1]),
    'a command': Calls(__import__('os').system, 'touch EVIL'),
    'code': Calls(eval, "open('EVIL', 'w')"),
}


@pytest.mark.parametrize('evil', EVIL.values(), ids=EVIL)
def test_the_conversion_takes_a_log_and_nothing_else(tmp_path, monkeypatch, evil):
    monkeypatch.chdir(tmp_path)
    statistics = dict(HistoryBuffer._statistics_methods)
    save_as_mmengine('a.pth', more=evil)
    with pytest.raises(CheckpointError, match=r'^a\.pth: ') as caught:
        convert_log('a.pth', 'b.pth')
    assert '\n' not in str(caught.value) and 'convert log' not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ['a.pth']
    assert statistics == HistoryBuffer._statistics_methods


@pytest.mark.parametrize(
    'log',
    [5, dict(loss=Calls(HistoryBuffer.__new__, HistoryBuffer)), None],
    ids=['number', 'empty', 'none'],
)
def test_a_log_that_is_none(tmp_path, log):
    save_as_mmengine(tmp_path / 'a.pth', message_hub=dict(log_scalars=log))
    with pytest.raises(CheckpointError, match=r'a\.pth: '):
        convert_log(tmp_path / 'a.pth', tmp_path / 'b.pth')


def test_a_buffer_elsewhere_is_not_written(tmp_path):
    """A stand-in in the new file would be a pickled class again."""
    save_as_mmengine(tmp_path / 'a.pth', more=[HistoryBuffer([1], [1])])
    with pytest.raises(CheckpointError, match=r'b\.pth: can not be written'):
        convert_log(tmp_path / 'a.pth', tmp_path / 'b.pth')
    assert [p.name for p in tmp_path.iterdir()] == ['a.pth']


def test_where_nothing_can_be_written(tmp_path):
    save_as_mmengine(tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'none/b\.pth: can not be written'):
        convert_log(tmp_path / 'a.pth', tmp_path / 'none/b.pth')
    with pytest.raises(CheckpointError, match='no such checkpoint'):
        convert_log(tmp_path / 'none.pth', tmp_path / 'b.pth')


def _download(path):
    """Through the loader of addresses; the download is stood in for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.hub, 'get_dir', lambda: str(path.parent / 'cache'))
        patch.setattr(
            torch.hub,
            'download_url_to_file',
            lambda url, out, progress: shutil.copy(path, out),
        )
        load_from_http('http://a.example/x.pth')


def _clip(path):
    path.with_name('x.mp4').write_bytes(b'looked at later')
    return [str(path.with_name('x.mp4'))]


def _options(path):
    name = f'experiment_name={uuid4().hex}'
    return ['--work-dir', str(path.parent / 'run'), '--cfg-options', name]


SAFE = 'x.safetensors'
DOORS = {
    'load_from_local': lambda path, config: load_from_local(str(path)),
    'load_from_http': lambda path, config: _download(path),
    'mmengine': lambda path, config: CheckpointLoader.load_checkpoint(str(path)),
    'load_model': lambda path, config: load_model(path),
    'load_model with a config': lambda path, config: load_model(path, config=config),
    'infer': lambda path, config: main(['caption', str(path), *_clip(path)]),
    'load_weights': lambda path, config: load_weights(path, torch.nn.Linear(2, 2)),
    'export': lambda path, config: export_safetensors(path, path.parent / SAFE),
    'publish': lambda path, config: publish(path, path.parent / 'x.pth'),
    'convert own': lambda path, config: main(
        ['convert', 'own', str(path.parent / 'x.pth'), str(path)]
    ),
    'convert bert': lambda path, config: convert_bert(path),
    'convert cavmae': lambda path, config: convert_cavmae(path, num_heads=2),
    'features': lambda path, config: read_records(path),
    'train --resume': lambda path, config: launch.train(
        [config, '--resume', str(path), *_options(path)]
    ),
    'train load_from': lambda path, config: launch.train(
        [config, *_options(path), f'load_from={path}']
    ),
    'test': lambda path, config: launch.test([config, str(path), *_options(path)]),
}  # fmt: skip


@pytest.mark.parametrize('kind', ['a log', 'getattr'])
@pytest.mark.parametrize('door', DOORS.values(), ids=DOORS)
def test_every_door_refuses_and_names_the_conversion(
    toy_config, tmp_path, monkeypatch, capsys, door, kind
):
    schemes = CheckpointLoader._schemes.copy()
    monkeypatch.setattr(CheckpointLoader, '_schemes', schemes)
    compat.register_checkpoint_loader()
    path = tmp_path / 'old.pth'
    if kind == 'a log':
        save_as_mmengine(path)
    else:
        torch.save(dict(state_dict={}, x=Calls(getattr, np.ndarray, 'tofile')), path)
    with pytest.raises((CheckpointError, SystemExit)) as caught:
        door(path, toy_config)
    said = str(caught.value) + capsys.readouterr().err
    assert 'refused' in said and '`coavt convert log OLD NEW`' in said
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('pickled', [False, True])
def test_a_resumed_run_goes_on_with_its_log(toy_config, tmp_path, pickled):
    """Also from a file whose log mmengine had pickled."""

    def train(name, *options):
        launch.train([toy_config, *_options(tmp_path / name / 'x'), *options])

    train('whole', 'train_cfg.max_iters=6')
    path = tmp_path / 'whole/run/iter_4.pth'
    if pickled:
        torch.save(load_from_local(str(path)), path)
        path.with_name('iter_4.pth.sha256').unlink()
        convert_log(path, path)
    train('parts', 'train_cfg.max_iters=6', f'load_from={path}', 'resume=True')
    whole, parts = (
        load_from_local(str(tmp_path / name / 'run/iter_6.pth'))['message_hub']
        for name in ('whole', 'parts')
    )
    assert whole['log_scalars'].keys() == parts['log_scalars'].keys() > {'train/loss'}
    for name, history in whole['log_scalars'].items():
        values, counts = parts['log_scalars'][name].data
        assert len(values) == 6 or not name.startswith('train/')
        assert counts.tolist() == history.data[1].tolist()
        assert values.tolist() == history.data[0].tolist() or 'time' in name
