"""A worker that dies leaves the name of its clip."""

import os
import signal
from types import SimpleNamespace

import pytest
from media_files import write_rows
from torch.utils.data import DataLoader

from coavt_mm.datasets import AVTDataset, ConcatDataset
from coavt_mm.datasets.reading import read_list
from coavt_mm.engine.dead_workers import (
    NOTE,
    leave_out_noted,
    naming_what_was_read,
)
from coavt_mm.errors import ClipError


def dies_over_b(row):
    if row['sample_id'] == '#b':
        os.kill(os.getpid(), signal.SIGKILL)
    return row


def finds_no_room_for_b(row):
    if row['sample_id'] == '#b':
        os.kill(os.getpid(), signal.SIGBUS)
    return row


def corpus(folder, step=dies_over_b):
    rows = [dict(id=name, clip='x.mp4') for name in ('a', '#b', 'c')]
    write_rows(folder / 'm.jsonl', rows)
    return dict(ann_file='m.jsonl', data_root=str(folder), pipeline=[step])


class Runner(SimpleNamespace):
    """What knows its folder, loaders, and what it has said."""

    _train_dataloader = _val_dataloader = _test_dataloader = None

    def __init__(self, folder, **loaders):
        said = []
        logger = SimpleNamespace(warning=said.append)
        super().__init__(work_dir=folder, logger=logger, said=said, **loaders)


@pytest.mark.parametrize('several', [False, True])
def test_the_clip_is_named_and_left_out_next_time(tmp_path, several):
    options = corpus(tmp_path)
    data = AVTDataset(**options)
    whole = ConcatDataset([data, AVTDataset(**options)]) if several else data
    loader = DataLoader(whole, None, num_workers=1, timeout=60)
    runner = Runner(tmp_path, _train_dataloader=loader)
    named = pytest.raises(ClipError, match='It was reading #b, noted')
    with named as caught, naming_what_was_read(runner):
        list(loader)
    assert '\n' not in str(caught.value) and 'isolate=True' in str(caught.value)
    assert read_list(tmp_path / NOTE) == ['#b']
    left = AVTDataset(**options, exclude=str(tmp_path / NOTE))
    assert [x['sample_id'] for x in left] == ['a', 'c']
    again = Runner(tmp_path, _train_dataloader=loader)
    leave_out_noted(again)
    assert len(again.said) == 1 + several
    assert 'left out is #b' in again.said[0] and str(tmp_path / NOTE) in again.said[0]
    drawn = [x['sample_id'] for x in loader]  # the others stay in their places
    assert drawn[0::3] == ['a'] * (1 + several) and drawn[2::3] == ['c'] * (1 + several)
    assert '#b' not in drawn


def test_no_clip_is_blamed_for_full_shared_memory(tmp_path, monkeypatch):
    """What a container of 64 MB ends in, see torch's own message."""
    data = AVTDataset(**corpus(tmp_path, finds_no_room_for_b))
    loader = DataLoader(data, None, num_workers=1, timeout=60)
    runner = Runner(tmp_path, _train_dataloader=loader)
    with pytest.raises(ClipError) as caught, naming_what_was_read(runner):
        list(loader)
    said = str(caught.value)
    assert 'GB for batches of all workers' in said and '--ipc=host' in said
    assert 'one of #b is to blame' in said and '\n' not in said
    assert not (tmp_path / NOTE).exists()
    monkeypatch.setattr('coavt_mm.engine.dead_workers.SHARED_MEMORY', '/no/such')
    unknown = pytest.raises(ClipError, match='can not be looked at')
    with unknown, naming_what_was_read(runner):
        list(loader)


def test_a_validation_leaves_out_what_it_may_skip(tmp_path):
    options = corpus(tmp_path) | dict(test_mode=True, check_files=False)
    (tmp_path / NOTE).write_text('\\#b\nof another\n')
    skips = AVTDataset(**options, on_error='skip')
    skips.pipeline.transforms = [dict]
    raises = AVTDataset(**options)
    runner = Runner(
        tmp_path,
        _val_dataloader=DataLoader(skips, None),
        _test_dataloader=DataLoader(raises, None),
    )
    leave_out_noted(runner)
    assert len(runner.said) == 1
    assert ['error' in x for x in skips] == [False, True, False]
    assert 'worker died' in skips[1]['error'] and NOTE in skips[1]['error']
    (tmp_path / NOTE).unlink()
    leave_out_noted(again := Runner(tmp_path))
    assert again.said == []


def test_other_errors_pass(tmp_path):
    runner = Runner(tmp_path)
    with pytest.raises(RuntimeError, match='CUDA'), naming_what_was_read(runner):
        raise RuntimeError('CUDA error')
