"""A worker that dies leaves the name of its clip."""

import os
import signal
from types import SimpleNamespace

import pytest
from media_files import write_rows
from torch.utils.data import DataLoader

from coavt_mm.datasets import AVTDataset, ConcatDataset
from coavt_mm.datasets.reading import read_list
from coavt_mm.engine.dead_workers import NOTE, naming_what_was_read
from coavt_mm.errors import ClipError


def dies_over_b(row):
    if row['sample_id'] == '#b':
        os.kill(os.getpid(), signal.SIGKILL)
    return row


@pytest.mark.parametrize('several', [False, True])
def test_the_clip_is_named_and_left_out_next_time(tmp_path, several):
    rows = [dict(id=name, clip='x.mp4') for name in ('a', '#b', 'c')]
    write_rows(tmp_path / 'm.jsonl', rows)
    options = dict(ann_file='m.jsonl', data_root=str(tmp_path), pipeline=[dies_over_b])
    data = AVTDataset(**options)
    whole = ConcatDataset([data, AVTDataset(**options)]) if several else data
    loader = DataLoader(whole, None, num_workers=1, timeout=60)
    runner = SimpleNamespace(
        work_dir=tmp_path,
        _train_dataloader=loader,
        _val_dataloader=None,
        _test_dataloader=None,
    )
    named = pytest.raises(ClipError, match='It was reading #b, noted')
    with named as caught, naming_what_was_read(runner):
        list(loader)
    assert '\n' not in str(caught.value) and 'isolate=True' in str(caught.value)
    assert read_list(tmp_path / NOTE) == ['#b']
    left = AVTDataset(**options, exclude=str(tmp_path / NOTE))
    assert [x['sample_id'] for x in left] == ['a', 'c']


def test_other_errors_pass(tmp_path):
    runner = SimpleNamespace(work_dir=tmp_path)
    with pytest.raises(RuntimeError, match='CUDA'), naming_what_was_read(runner):
        raise RuntimeError('CUDA error')
