"""Long manifests are looked through once, and their rows read when they are wanted."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from coavt_mm.datasets import AVTDataset, manifest_index
from coavt_mm.datasets.manifest import write_manifest
from coavt_mm.errors import ManifestError


@pytest.fixture(autouse=True)
def every_manifest_is_long(monkeypatch, tmp_path):
    monkeypatch.setattr(manifest_index, 'LEAST', 1)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def rows(count):
    return [
        dict(id=f'clip {i} ü', clip=f'{i}.mp4', start=float(i), end=i + 2.5,
             captions=['é ' * (i % 7 + 1)] * (i % 3), labels=[f'class {i % 4}'])
        for i in range(count)
    ]  # fmt: skip


def manifest(folder, content, name='m.jsonl'):
    path = folder / name
    path.write_text(content, 'utf-8')
    return str(path)


def lines(count, **more):
    return [json.dumps({**row, **more}, ensure_ascii=False) for row in rows(count)]


def both(path, monkeypatch, **options):
    """The data set by its index, and as it is read whole."""
    by_index = AVTDataset(path, data_root='/media', **options)
    with monkeypatch.context() as patch:
        patch.setattr(manifest_index, 'LEAST', 1 << 60)
        return by_index, AVTDataset(path, data_root='/media', **options)


def assert_equal(one, other):
    assert len(one) == len(other) and one.metainfo == other.metainfo
    for i in range(len(one)):
        assert one.get_data_info(i) == other.get_data_info(i)


@pytest.mark.parametrize(
    'content',
    [
        '\n'.join(lines(1)),
        '\n'.join(lines(50)) + '\n',
        '\n\n'.join(lines(17)) + '\n \n',
        '\r\n'.join(lines(5)),
        '\r'.join(lines(5)),
        '\ufeff' + '\n'.join(lines(3)),
        json.dumps(dict(clip='long.mp4', captions=['x' * 9999])) + '\n' + lines(1)[0],
        # two spans of a file whose default ids are one
        '{"clip": "a.mp4", "start": 1.0000001, "end": 2}\n'
        '{"clip": "a.mp4", "start": 1.0000002, "end": 3}',
    ],
)
def test_rows_are_those_that_are_read_whole(content, tmp_path, monkeypatch):
    assert_equal(*both(manifest(tmp_path, content), monkeypatch))


@pytest.mark.parametrize(
    'options',
    [
        dict(indices=5),
        dict(indices=-3),
        dict(indices=[4, 2]),
        dict(classes=[f'class {i}' for i in range(4)]),
        dict(classes=['class 1'], other_labels='drop'),
    ],
)
def test_so_are_parts_and_classes(options, tmp_path, monkeypatch):
    path = tmp_path / 'm.jsonl'
    write_manifest(path, rows(20), dict(protocol='mine', missing=3))
    by_index, whole = both(str(path), monkeypatch, **options)
    assert_equal(by_index, whole)
    assert_equal(pickle.loads(pickle.dumps(by_index)), whole)
    assert_equal(by_index.get_subset([1, 0]), whole.get_subset([1, 0]))


def test_what_leaves_rows_out_reads_them(tmp_path):
    path = manifest(tmp_path, '\n'.join(lines(5)))
    unwanted = manifest(tmp_path, 'clip 2 ü\n', 'unwanted.txt')
    assert len(AVTDataset(path, exclude=unwanted)) == 4
    with pytest.raises(Exception, match='5 of 5 clips are not on disk'):
        AVTDataset(path, test_mode=True)


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ('{"clip": 3}', ":4: 'clip' must be a string"),
        ('{"clip": "a", "clip": "a"}', ":4: the key 'clip' is there twice"),
        ('{"clip"', ':4: '),
        (lines(2)[1], "id 'clip 1 ü' is also that of line 2"),
    ],
)
def test_what_is_wrong_is_said_as_ever(wrong, said, tmp_path):
    path = manifest(tmp_path, '\n'.join([*lines(3), wrong, *lines(9)[4:]]))
    with pytest.raises(ManifestError, match=said):
        AVTDataset(path)


def test_a_label_that_is_no_class_is_said_as_ever(tmp_path):
    path = manifest(tmp_path, '\n'.join(lines(5)))
    with pytest.raises(ManifestError, match="clip 1 ü: label 'class 1' is not among"):
        AVTDataset(path, classes=['class 0'])


def test_work_is_shared_and_done_once(tmp_path, monkeypatch):
    path = Path(manifest(tmp_path, '\n'.join(lines(400))))
    looked, through = [], manifest_index._look_through
    monkeypatch.setattr(
        manifest_index,
        '_look_through',
        lambda path, number, out: looked.append(number) or through(path, number, out),
    )
    with ThreadPoolExecutor(4) as pool:  # locks are of open files, so of threads, too
        found = [*pool.map(manifest_index.index_manifest, [path] * 4)]
    assert sorted(looked) == [*range(manifest_index.SLICES)]
    assert all(np.array_equal(one.starts, found[0].starts) for one in found)
    manifest_index.index_manifest(path)
    assert len(looked) == manifest_index.SLICES
    # other rows: looked through anew, and what was kept of the old ones is gone
    path.write_text('\n'.join(lines(300)), 'utf-8')
    assert len(manifest_index.index_manifest(path).starts) == 300
    (kept,) = (tmp_path / 'cache').glob('coavt_mm/manifests/*/*')
    assert (kept / 'starts.npy').is_file()


def test_without_a_cache_it_works_too(tmp_path, monkeypatch):
    file = tmp_path / 'no folder'
    file.touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(file))
    path = manifest(tmp_path, '\n'.join(lines(5)))
    assert len(manifest_index.index_manifest(Path(path)).starts) == 5


def test_short_manifests_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest_index, 'LEAST', 1 << 26)
    AVTDataset(manifest(tmp_path, '\n'.join(lines(5))))
    assert not (tmp_path / 'cache').exists()
