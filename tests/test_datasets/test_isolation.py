"""A decoder that crashes, hangs or fills the memory costs one clip."""

import shutil

import numpy as np
import pytest
import tiny_apis
from media_files import write_rows
from torch.utils.data import DataLoader

from coavt_mm.apis import load_model
from coavt_mm.datasets import AVTDataset, isolation
from coavt_mm.datasets.sources import ArraySource
from coavt_mm.datasets.transforms import LoadAudio, LoadFrames
from coavt_mm.errors import ClipError

# stands in for `serve`: names of files say what becomes of the process that reads them
FAULTY = """
import os, sys, time
from coavt_mm.datasets import isolation, sources
def faulty(read):
    def wrapper(self, *args):
        name = os.path.basename(str(self.file))
        if name.startswith('crash'):
            os.kill(os.getpid(), 11)
        if name.startswith('abort'):
            os.abort()
        if name.startswith('hang'):
            time.sleep(60)
        if name.startswith('large'):
            bytearray(64 << 30)
        return read(self, *args)
    return wrapper
for method in ('frames', 'audio'):
    setattr(sources.FileSource, method, faulty(getattr(sources.FileSource, method)))
isolation.serve({number})
"""


@pytest.fixture
def faulty(monkeypatch):
    monkeypatch.setattr(isolation, '_START', FAULTY)
    monkeypatch.setattr(isolation, '_reader', isolation._Reader())
    yield
    isolation._reader.end()


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
    monkeypatch.setattr(isolation, '_own_reader', None)
    frames = ArraySource(np.zeros((4, 8, 8, 3), np.uint8), 2.0)
    got = LoadFrames(2, 'all', isolate=True)(dict(picture=frames, start=0.0, end=None))
    assert len(got['imgs']) == 2
