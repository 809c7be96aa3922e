"""A decoder that crashes, hangs or fills the memory costs one clip."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import tiny_apis
from media_files import write_rows
from torch.utils.data import DataLoader

from coavt_mm.apis import load_model
from coavt_mm.datasets import AVTDataset, isolation
from coavt_mm.datasets.sources import ArraySource
from coavt_mm.datasets.transforms import LoadAudio, LoadFrames
from coavt_mm.errors import ClipError


def row(path, **span):
    return dict(clip_path=str(path), audio_path=str(path), start=0.0, end=None) | span


def test_what_is_read_is_the_same(make_clip):
    clip = make_clip(seconds=1.0)
    for kind, options in (
        (LoadFrames, dict(pick='all')),
        (LoadFrames, dict(pick='all', times='cavmae')),
        (LoadAudio, dict(seconds=0.7, crop='center')),
    ):
        plain, beside = (
            kind(**options, isolate=isolate)(row(clip)) for isolate in (False, True)
        )
        assert plain.keys() == beside.keys()
        for key, value in plain.items():
            np.testing.assert_array_equal(value, beside[key])


FAULTS = {
    'crash': 'SIGSEGV', 'abort': 'SIGABRT', 'hang': 'longer than 1 s',
    'large': 'out of memory',
}  # fmt: skip


@pytest.mark.parametrize('name', FAULTS)
def test_each_fault_costs_one_clip(faulty, make_clip, tmp_path, name):
    clip, path = make_clip(seconds=1.0), tmp_path / f'{name}.mp4'
    shutil.copy(clip, path)
    read = LoadFrames(2, 0, timeout=20.0, isolate=True)
    if name == 'hang':
        read.timeout = 1.0
    with pytest.raises(ClipError, match=rf'{name}\.mp4: .*{FAULTS[name]}'):
        read(row(path))
    read.timeout = 20.0
    assert read(row(clip))['has_visual']


def test_a_training_gets_past_a_clip_that_crashes(faulty, make_clip, tmp_path):
    """With two workers, each of which has a process that decodes for it."""
    good = make_clip(seconds=1.0)
    for name in ('a.mp4', 'crash.mp4', 'b.mp4', 'c.mp4'):
        shutil.copy(good, tmp_path / name)
    rows = [dict(id=p.stem, clip=p.name) for p in sorted(tmp_path.glob('*.mp4'))]
    write_rows(tmp_path / 'train.jsonl', rows)
    data = AVTDataset(
        'train.jsonl',
        str(tmp_path),
        [LoadFrames(2, 0, isolate=True), LoadAudio(0.5, isolate=True)],
        max_bad_share=1.0,
    )
    got = [*DataLoader(data, None, num_workers=2)]
    assert len(got) == 4 and all(sample['has_visual'] for sample in got)
    assert data.bad_ids == ['crash']


def test_answers_go_on_behind_a_clip_that_crashes(
    faulty, make_clip, tmp_path, vocabulary
):
    checkpoint = tiny_apis.save(tiny_apis.coavt_cfg(vocabulary), tmp_path / 'm.pth')
    good, bad = make_clip(seconds=1.0), tmp_path / 'crash.mp4'
    shutil.copy(good, bad)
    model = load_model(checkpoint, device='cpu', isolate=True)
    plain = load_model(checkpoint, device='cpu')
    first, error = model.embed([str(good), str(bad)], on_error='keep')['clips']
    assert 'SIGSEGV' in error['error']
    assert repr(first) == repr(plain.embed(str(good))['clips'][0])


def test_arrays_need_no_child(monkeypatch):
    monkeypatch.setattr(isolation, '_own_readers', None)
    frames = ArraySource(np.zeros((4, 8, 8, 3), np.uint8), 2.0)
    got = LoadFrames(2, 'all', isolate=True)(dict(picture=frames, start=0.0, end=None))
    assert len(got['imgs']) == 2


def test_one_that_dies_idle_costs_nothing(monkeypatch, make_clip):
    monkeypatch.setattr(isolation, '_readers', isolation._Readers())
    read = LoadFrames(2, 0, isolate=True)
    for _ in range(2):
        assert read(row(make_clip(seconds=1.0)))['has_visual']
        (reader,) = isolation._readers.idle
        reader.process.kill()
        reader.process.wait()
    isolation._readers.end()


def test_threads_have_a_reader_each(faulty, make_clip, tmp_path):
    """One that hangs keeps none waiting; what is open is asked for again."""
    good, slow = make_clip(seconds=1.0), tmp_path / 'hang.mp4'
    shutil.copy(good, slow)
    readers = isolation._readers
    with ThreadPoolExecutor(3) as pool:
        read = LoadFrames(2, 0, timeout=None, isolate=True)
        hanging = pool.submit(read, row(slow))
        seen = [*pool.map(read, [row(good) for _ in range(6)])]
        assert not hanging.done() and all(x['has_visual'] for x in seen)
        while not slow.with_name('hang.mp4.read').exists():
            time.sleep(0.05)
        kept = {reader.process.pid for reader in readers.idle}
        for child in psutil.Process().children():
            if child.pid not in kept:
                child.kill()
        with pytest.raises(ClipError, match='SIGKILL'):
            hanging.result()
    assert 1 < len(readers.idle) <= max(os.cpu_count(), 2)
    assert {reader.read for reader in readers.idle} == {str(good), str(slow)}
