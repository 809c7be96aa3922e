"""Folders, manifests and lists become single clips."""

import os
from pathlib import Path

import fsspec
import numpy as np
import pytest
from media_files import write_rows

from coavt_mm.apis.inputs import as_clips, is_clip
from coavt_mm.apis.listing import in_folder, is_strict, listed, read_clips
from coavt_mm.errors import DatasetMissingError, InputError, ManifestError
from coavt_mm.preparation import FolderIndex


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b'1')
    return root


def names(given, root):
    return [os.path.relpath(path, root) for path in listed(given)]


@pytest.fixture
def folder(tmp_path):
    touch(tmp_path, 'b.mp4', 'x/y/z.MKV', 'x/a.wav', '._b.mp4', '.git/c.mp4', 'n.txt')
    touch(tmp_path, 'thumb.jpg', 'x/w.m2ts')
    (tmp_path / 'x/up').symlink_to(tmp_path)
    return tmp_path


def test_a_folder_is_all_below_it_as_in_the_preparation(folder):
    wanted = ['b.mp4', 'x/a.wav', 'x/w.m2ts', 'x/y/z.MKV']
    assert names(folder, folder) == names(f'{folder}/', folder) == wanted
    assert FolderIndex([folder]).names() == [os.path.splitext(n)[0] for n in wanted]


def test_several_folders_files_and_manifests_in_one_list(folder, monkeypatch):
    write_rows(folder / 'm.jsonl', [{'clip': 'b.mp4', 'start': 1.0, 'end': 2.5}])
    given = [folder / 'x/y', str(folder / 'm.jsonl'), folder / 'b.mp4', b'1', folder]
    clips = as_clips(given)
    assert [clip.name for clip in clips[:4]] == [
        str(folder / 'x/y/z.MKV'), 'b_1', str(folder / 'b.mp4'), 'clip 3'
    ]  # fmt: skip
    assert len(clips) == 8
    assert (clips[1].start, clips[1].end) == (1.0, 2.5)
    monkeypatch.setenv('HOME', str(folder))
    for home in ('~/x/y', Path('~/x/y')):
        assert listed(home) == [str(folder / 'x/y/z.MKV')]


def test_a_folder_of_a_store_is_read_in_depth():
    store = fsspec.filesystem('memory')
    for name in ('a.mp4', 'deep/er/b.wav', '.hidden/c.mp4', 'deep/._b.wav', 'd.txt'):
        store.pipe(f'/depth/{name}', b'1')
    try:
        found = [path.replace(':///', '://') for path in listed('memory://depth')]
        assert found == ['memory://depth/a.mp4', 'memory://depth/deep/er/b.wav']
        assert listed('memory://depth/a.mp4') == ['memory://depth/a.mp4']
    finally:
        store.rm('/depth', recursive=True)


def test_what_is_empty_or_missing(folder):
    (folder / 'none').mkdir()
    touch(folder, 'pictures/a.jpg')
    for name in ('none', 'pictures'):
        with pytest.raises(InputError, match='no media file .*named one by one'):
            in_folder(folder / name)
        with pytest.raises(InputError, match=f'{name}: the folder has no media file'):
            listed([folder, folder / name])
    with pytest.raises(DatasetMissingError, match='manifest gone.jsonl is missing'):
        listed('gone.jsonl')
    with pytest.raises(InputError, match='the list is empty'):
        listed(())


def test_a_picture_by_its_name_is_a_clip():
    for name in ('a.jpg', 'b/c.JPEG', 'd.png', 'e.webp', 'f.m2ts', 'own.jsonl'):
        assert is_clip(name)
    assert not is_clip('a jpg')


def test_manifests_as_plain_clips(tmp_path):
    rows = [
        {'id': 'one', 'clip': 'a.mp4', 'audio': 'w/a.flac', 'start': 1.5, 'end': 3},
        {'clip': None, 'audio': '/abs/b.wav', 'labels': ['dog']},
        {'clip': 'c.mp4', 'captions': ['the dog']},
    ]
    path = write_rows(tmp_path / 'sets/own.jsonl', rows)
    for root, given in ((tmp_path / 'sets', None), ('data', 'data'), ('', '')):
        one, two, three = read_clips(path, given)
        assert one == dict(
            name='one', video=os.path.join(root, 'a.mp4'),
            audio=os.path.join(root, 'w/a.flac'), start=1.5, end=3.0,
        )  # fmt: skip
        assert (two['name'], two['video'], two['audio']) == ('b', None, '/abs/b.wav')
        assert three['audio'] is None and three['end'] is None
    clips = as_clips(read_clips(path))
    assert [clip.name for clip in clips] == ['one', 'b', 'c']
    assert clips[1].picture is None and clips[2].sound == clips[2].picture
    write_rows(path, [{'clip': 3}])
    with pytest.raises(ManifestError, match='own.jsonl:1'):
        listed(path)


def test_two_folders_are_paired_by_name_in_depth(tmp_path):
    touch(tmp_path / 'v', 'a.mp4', 'a/b.mkv', 'a-b.mp4')
    touch(tmp_path / 's', 'a.wav', 'a/b.wav', 'a-b.flac')
    clips = as_clips(tmp_path / 'v', str(tmp_path / 's'))
    assert len(clips) == 3
    for clip in clips:
        film, sound = Path(clip.picture), Path(clip.sound)
        assert film.relative_to(tmp_path / 'v').with_suffix('') == sound.relative_to(
            tmp_path / 's'
        ).with_suffix('')
    touch(tmp_path / 's', 'a/b.mp3')
    with pytest.raises(InputError, match='bear one name'):
        as_clips(tmp_path / 'v', tmp_path / 's')


def test_a_list_keeps_its_errors_and_a_single_clip_does_not(folder):
    wave = (np.zeros(9, np.float32), 16000)
    for single in ('x.mp4', b'1', wave, {'video': 'x.mp4'}, folder / 'b.mp4', None):
        assert is_strict(None, single)
        assert not is_strict('keep', single)
    for several in ([], ['x.mp4'], ('a', 'b'), folder, str(folder), 'x.jsonl'):
        assert not is_strict(None, several, None)
        assert is_strict('raise', several)
