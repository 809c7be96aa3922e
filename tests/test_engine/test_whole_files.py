"""Checkpoints that are whole or not there, and which of them a run goes on from."""

import errno
import itertools
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from coavt_mm.checkpoint_files import load_from_local
from coavt_mm.cli import launch
from coavt_mm.engine import whole_files
from coavt_mm.engine.choosing import last_checkpoint
from coavt_mm.engine.whole_files import WholeFileBackend, write_note
from coavt_mm.errors import CheckpointError, ConfigError


class Killed(BaseException):
    """The process ends here."""


def names(folder) -> list[str]:
    return sorted(p.name for p in Path(folder).iterdir())


def save(folder, number: int, name: str = 'iter_{}.pth') -> Path:
    path = Path(folder) / name.format(number)
    torch.save({'state_dict': {'w': torch.full((100,), float(number))}}, path)
    WholeFileBackend().put(path.read_bytes(), path)
    return path


def test_a_checksum_that_people_can_check(tmp_path):
    path = save(tmp_path, 2)
    assert names(tmp_path) == ['iter_2.pth', 'iter_2.pth.sha256']
    check = ['sha256sum', '-c', 'iter_2.pth.sha256']
    assert not subprocess.run(check, cwd=tmp_path, capture_output=True).returncode
    assert load_from_local(str(path))['state_dict']['w'][0] == 2
    WholeFileBackend().remove(path)
    assert names(tmp_path) == []


@pytest.mark.parametrize('call', ['fsync', 'replace', 'remove'])
@pytest.mark.parametrize('moment', [1, 2, 3])
def test_a_stop_at_any_moment_leaves_the_old_or_the_new(
    tmp_path, monkeypatch, call, moment
):
    path = save(tmp_path, 2)
    new = path.with_name('new')
    torch.save({'state_dict': {'w': torch.full((100,), 3.0)}}, new)
    content, calls, real = new.read_bytes(), [], getattr(os, call)

    def stop(*args):
        calls.append(args)
        if len(calls) == moment:
            raise Killed
        return real(*args)

    monkeypatch.setattr(whole_files.os, call, stop)
    with suppress(Killed):
        WholeFileBackend().put(content, path)
    monkeypatch.undo()
    assert load_from_local(str(path))['state_dict']['w'][0] in (2, 3)
    save(tmp_path, 4)
    assert whole_files.UNFINISHED not in names(tmp_path)


@pytest.mark.parametrize('call', ['fsync', 'replace'])
@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, call, code):
    path = save(tmp_path, 2)
    write_note(tmp_path, str(path))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(whole_files.os, call, fail)
    for write in (
        lambda: WholeFileBackend().put(b'new', path),
        lambda: WholeFileBackend().put(b'new', path.with_name('iter_3.pth')),
        lambda: write_note(tmp_path, 'iter_3.pth'),
    ):
        with pytest.raises(CheckpointError, match='can not be saved .*--resume'):
            write()
        if call == 'fsync':
            assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
        assert load_from_local(str(path))['state_dict']['w'][0] == 2


def test_what_is_outdated_goes_when_the_new_one_is_there(tmp_path):
    backend, paths = WholeFileBackend(), [save(tmp_path, n) for n in (1, 2)]
    with pytest.raises(Killed), backend.removing_last():
        backend.remove(paths[0])
        raise Killed
    assert paths[0].is_file()
    with backend.removing_last():
        backend.remove(paths[0])
        backend.remove(paths[1])
        save(tmp_path, 2)  # of the same name
        assert paths[0].is_file()
    assert names(tmp_path) == ['iter_2.pth', 'iter_2.pth.sha256']


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b'')


@pytest.mark.parametrize('harm, reason', [
    (cut, 'checksum differs'), (flip, 'checksum differs'), (empty, 'checksum differs'),
    (Path.unlink, 'which is no file here'),
])  # fmt: skip
def test_the_newest_that_can_be_read(tmp_path, capsys, harm, reason):
    paths = [save(tmp_path, n) for n in (2, 10, 8)]
    save(tmp_path, 12)  # of a run that this one did not go on from
    (tmp_path / 'best_iter_9.pth').write_bytes(b'')
    write_note(tmp_path, str(paths[1]))
    assert last_checkpoint(tmp_path) == str(paths[1])
    assert capsys.readouterr().out == ''
    harm(paths[1])
    assert last_checkpoint(tmp_path) == str(paths[2])
    (line,) = capsys.readouterr().out.splitlines()
    assert 'goes on from iter_8.pth. Skipped: ' in line
    assert reason in line and 'iter_10.pth' in line
    for path in (paths[0], paths[2]):
        empty(path)
    with pytest.raises(CheckpointError, match='No checkpoint here can be read'):
        last_checkpoint(tmp_path)


def test_times_of_files_decide_nothing(tmp_path):
    """Clocks jump, and copies have the time of the copying."""
    paths = [save(tmp_path, n) for n in (2, 4, 6)]
    write_note(tmp_path, str(paths[2]))
    for path, when in zip(paths, (2e9, 1e9, 0), strict=True):
        os.utime(path, (when, when))
    assert last_checkpoint(tmp_path) == str(paths[2])
    (tmp_path / 'last_checkpoint').unlink()
    assert last_checkpoint(tmp_path) == str(paths[2])
    empty(paths[2])
    assert last_checkpoint(tmp_path) == str(paths[1])


@pytest.mark.parametrize('harm', [cut, empty])
def test_files_without_a_checksum_are_read(tmp_path, capsys, harm):
    paths = [save(tmp_path, n, 'epoch_{}.pth') for n in (1, 2)]
    for path in paths:
        Path(f'{path}.sha256').unlink()
    write_note(tmp_path, 'elsewhere/epoch_2.pth')
    assert last_checkpoint(tmp_path) == str(paths[1])
    harm(paths[1])
    assert last_checkpoint(tmp_path) == str(paths[0])
    assert 'damaged or cut off' in capsys.readouterr().out


@pytest.mark.parametrize(
    'note', [None, b'', b'\n', b'\xff', b'/etc/passwd', b'http://x/y.pth', b'a\0.pth']
)
def test_a_note_that_is_empty_or_not_there(tmp_path, capsys, note):
    path = save(tmp_path, 3)
    if note is not None:
        (tmp_path / 'last_checkpoint').write_bytes(note)
    assert last_checkpoint(tmp_path) == str(path)
    assert ('last_checkpoint: names ' in capsys.readouterr().out) is bool(
        note is not None
    )


def test_a_changed_file_is_refused_wherever_it_is_read(tmp_path):
    path = save(tmp_path, 2)
    flip(path)
    with pytest.raises(CheckpointError, match='remove the .sha256 file if you'):
        load_from_local(str(path))


@pytest.fixture
def train(toy_config, tmp_path):
    """Trains the toy in a folder with settings, and gives the names of checkpoints."""

    def run(*settings, resume=False):
        command = [toy_config, '--work-dir', str(tmp_path)] + ['--resume'] * resume
        launch.train([*command, '--cfg-options', *settings])
        return [p.name for p in tmp_path.glob('iter_*.pth')]

    return run


HOOK = 'default_hooks.checkpoint.'


def test_clocks_that_jump(train, tmp_path, monkeypatch):
    """Back by a day, and ahead by a year, at every other look."""
    real, jumps = time.time, itertools.cycle([0, -86400, 3e7])
    monkeypatch.setattr(time, 'time', lambda: real() + next(jumps))
    train(f'{HOOK}interval=4')
    (tmp_path / 'iter_7.pth').unlink()
    train(f'{HOOK}interval=4', resume=True)
    assert last_checkpoint(tmp_path) == str(tmp_path / 'iter_7.pth')


def test_retention(train, tmp_path):
    keeps = [f'{HOOK}interval=1', f'{HOOK}max_keep_ckpts=1', f'{HOOK}keep_every=3']
    found = train(*keeps, 'train_cfg.max_iters=5')
    assert {*found} == {'iter_3.pth', 'iter_5.pth'}
    empty(tmp_path / 'iter_5.pth')
    found = train(*keeps, 'train_cfg.max_iters=7', resume=True)
    assert {*found} == {'iter_3.pth', 'iter_6.pth', 'iter_7.pth'}
    last = torch.load(tmp_path / 'iter_7.pth', weights_only=False)
    assert last['message_hub']['runtime_info']['keep_ckpt_ids'] == [7]
    with pytest.raises(ConfigError, match='keep_every=-1'):
        train(f'{HOOK}keep_every=-1')


def test_a_full_disk_ends_a_run_in_a_line_that_goes_on(train, tmp_path, monkeypatch):
    """The only checkpoint is removed when the next one is there, and not before."""
    keeps = [f'{HOOK}interval=2', f'{HOOK}max_keep_ckpts=1']
    keeps += [f'{HOOK}save_best=count', f'{HOOK}rule=greater']
    real = whole_files.os.replace

    def full(source, path):
        if Path(path).name in ('iter_4.pth', 'best_count_iter_6.pth'):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, path)

    monkeypatch.setattr(whole_files.os, 'replace', full)
    with pytest.raises(CheckpointError, match=r'iter_4.pth: can not be .*No space'):
        train(*keeps)
    assert (
        (tmp_path / 'last_checkpoint').read_text().endswith('iter_3.pth')
    )  # with the best
    monkeypatch.undo()
    assert train(*keeps, resume=True) == ['iter_7.pth']


@pytest.mark.parametrize('beside', [False, True])
def test_an_error_while_a_checkpoint_is_written(train, tmp_path, monkeypatch, beside):
    """torch.save would say something else of a full disk."""
    keeps = [f'{HOOK}interval=2', f'{HOOK}async_save={beside}']
    real = whole_files.HashedFile

    class Full:
        def __init__(self, file):
            self.file, self.flush = file, file.flush
            self.name, self.fileno = file.name, file.fileno

        def write(self, content):
            if len(opened) == 4 and len(content) > 100:  # of three a save
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(content)

    def start(file):
        opened.append(file.name)
        return real(Full(file))

    opened = []
    monkeypatch.setattr(whole_files, 'HashedFile', start)
    with pytest.raises(CheckpointError, match=r'iter_4.pth: can not be .*No space'):
        train(*keeps)
    assert 'unfinished.tmp' not in names(tmp_path)
    monkeypatch.undo()
    assert last_checkpoint(tmp_path) == str(tmp_path / 'iter_2.pth')
    train(*keeps, resume=True)
    assert last_checkpoint(tmp_path) == str(tmp_path / 'iter_7.pth')


def test_a_file_that_may_not_grow(tmp_path):
    """Of the system, not of a stand-in."""
    code = f"""
import resource, torch
from functools import partial
from coavt_mm.engine.whole_files import write_with_checksum
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
write_with_checksum({str(tmp_path / 'a.pth')!r}, partial(torch.save, torch.ones(99999)))
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'a.pth: can not be saved (File too large)' in done.stderr
    assert names(tmp_path) == []


def test_saving_beside_the_training_gives_the_same(train, tmp_path, monkeypatch):
    """Each is slower than the steps that follow; the last is waited for."""
    real = whole_files.os.fsync
    monkeypatch.setattr(whole_files.os, 'fsync', lambda f: time.sleep(0.03) or real(f))
    keeps = [f'{HOOK}interval=1', f'{HOOK}max_keep_ckpts=3']
    keeps += [f'{HOOK}save_best=count', f'{HOOK}rule=greater']
    found = []
    for beside in (False, True):
        train(*keeps, f'{HOOK}async_save={beside}')
        found.append({p.name: load_from_local(str(p)) for p in tmp_path.glob('*.pth')})
    assert found[0].keys() == found[1].keys()
    assert {*found[0]} == {
        'best_count_iter_3.pth',
        *(f'iter_{n}.pth' for n in (5, 6, 7)),
    }
    for name, now in found[0].items():
        beside = found[1][name]
        for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
            assert repr(now.get(part)) == repr(beside.get(part))
    assert last_checkpoint(tmp_path) == str(tmp_path / 'iter_7.pth')
