import os
import unicodedata

import pytest

from coavt_mm.datasets import folders
from coavt_mm.errors import DatasetMissingError
from coavt_mm.preparation import ClipIndex, FolderIndex, ListedClip, layouts
from coavt_mm.preparation.layouts import media_files

CLIP = ListedClip('abc_def-g_1', 30.0, 40.0)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ('name', 'cut'),
    [
        ('abc_def-g_1.mp4', None),
        ('abc_def-g_1_000030.mp4', True),
        ('train/dogs/abc_def-g_1_30.MKV', True),
        ('abc_def-g_1_30000.webm', True),
        ('abc_def-g_1_30.000_40.000.mp4', True),
        ('abc_def-g_1_30000_40000.mp4', True),
        ('Yabc_def-g_1.mp4', None),
        ('Yabc_def-g_1_000030.mp4', True),
    ],
)
def test_names_of_clips(tmp_path, name, cut):
    index = ClipIndex([touch(tmp_path, name)], [CLIP.source])
    assert index.find(CLIP) == (str(tmp_path / name), None, cut)


@pytest.mark.parametrize(
    'name', ['abc_def-g.mp4', 'abc_def-g_1_000031.mp4', 'abc_def-g_1.txt', 'x.mp4']
)
def test_names_of_others(tmp_path, name):
    assert ClipIndex([touch(tmp_path, name)], [CLIP.source]).find(CLIP) is None


def test_a_name_with_the_start_goes_first_and_sound_may_lie_elsewhere(tmp_path):
    touch(tmp_path, 'v/abc_def-g_1.mp4', 'v/x/abc_def-g_1_30.mp4')
    touch(tmp_path, 'w/abc_def-g_1_000030.flac')
    index = ClipIndex([tmp_path / 'v', tmp_path / 'w'], [CLIP.source])
    assert index.find(CLIP) == (
        str(tmp_path / 'v/x/abc_def-g_1_30.mp4'),
        str(tmp_path / 'w/abc_def-g_1_000030.flac'),
        True,
    )


def test_a_cut_out_sound_is_not_put_to_a_whole_video(tmp_path):
    touch(tmp_path, 'abc_def-g_1.mp4', 'abc_def-g_1_000030.wav')
    index = ClipIndex([tmp_path], [CLIP.source])
    assert index.find(CLIP) == (str(tmp_path / 'abc_def-g_1.mp4'), None, None)


def test_the_end_in_a_name_tells_two_clips_apart(tmp_path):
    touch(tmp_path, 'abc_30_40.mp4', 'abc_30000_50000.mp4')
    spans = [ListedClip('abc', 30.0, end, names_end=True) for end in (40.0, 50.0, 60.0)]
    index = ClipIndex([tmp_path], ['abc'])
    found = [index.find(span) for span in spans]
    assert [x and x.clip for x in found] == [
        str(tmp_path / 'abc_30_40.mp4'), str(tmp_path / 'abc_30000_50000.mp4'), None
    ]  # fmt: skip
    # the only clip with this start has some other end: cut a little shorter
    assert index.find(ListedClip('abc', 30.0, 39.5)) is not None


def test_sound_alone(tmp_path):
    index = ClipIndex([touch(tmp_path, 'a.wav')], ['a'])
    assert index.find(ListedClip('a')) == (None, str(tmp_path / 'a.wav'), None)


def test_own_folder(tmp_path):
    index = FolderIndex([touch(tmp_path, 'a.mp4', 'a.wav', 'b/a.mp4', 'n.txt')])
    assert index.names() == ['a', 'b/a']
    both = (str(tmp_path / 'a.mp4'), str(tmp_path / 'a.wav'), False)
    assert index.find(ListedClip('a')) == index.find(ListedClip('a.mp4')) == both
    assert index.find(ListedClip('b/a')).clip == str(tmp_path / 'b/a.mp4')
    assert index.find(ListedClip('c')) is None


def test_no_folder(tmp_path):
    with pytest.raises(DatasetMissingError, match='nowhere'):
        FolderIndex([tmp_path / 'nowhere'])


# ------------------------------------------------------------------ what is found
@pytest.fixture
def said(monkeypatch):
    """The warnings."""
    lines = []
    for module in (folders, layouts):
        monkeypatch.setattr(module, 'print_log', lambda line, **_: lines.append(line))
    return lines


def below(folder):
    return [os.path.relpath(path, folder) for path in media_files(folder)]


@pytest.mark.parametrize(
    'suffix', ['.mp4', '.MKV', '.ts', '.m2ts', '.mpg', '.3gp', '.wmv', '.aiff', '.mka']
)
def test_suffixes(tmp_path, suffix):
    assert below(touch(tmp_path, f'x/a{suffix}')) == [f'x/a{suffix}']


def test_hidden_files_pictures_and_others_are_no_clips(tmp_path):
    touch(tmp_path, 'a.mp4', '._a.mp4', '.b.wav', '.trash/c.mp4', 'd/.e/f.mp4')
    touch(tmp_path, 'a.jpg', 'a.webp', 'a.mp4.part', 'mp4', '-z.mp4', '_y.mp4')
    touch(tmp_path, '.hidden/g.mp4')
    assert below(tmp_path) == ['-z.mp4', '_y.mp4', 'a.mp4']
    assert below(tmp_path / '.hidden') == ['g.mp4']  # asked for by name


def test_no_folder_is_entered_twice(tmp_path):
    touch(tmp_path, 'a/1.mp4', 'a/b/2.mp4', '3.mp4')
    (tmp_path / 'loop').symlink_to(tmp_path)
    for name in ('up', 'also_up'):
        (tmp_path / 'a/b' / name).symlink_to('../..')
    (tmp_path / '0').symlink_to(tmp_path / 'a')  # before a by name
    assert below(tmp_path) == ['3.mp4', 'a/1.mp4', 'a/b/2.mp4']
    (tmp_path / 'dead').symlink_to(tmp_path / 'gone')
    (tmp_path / 'self').symlink_to(tmp_path / 'self')
    assert len(below(tmp_path)) == 3


def test_links_out_of_the_folder_are_followed_once(tmp_path):
    disk = touch(tmp_path / 'disk', 'x.mp4', 'deep/y.mp4')
    folder = touch(tmp_path / 'clips', 'z.mp4')
    for name in ('b', 'a'):
        (folder / name).symlink_to(disk)
    (folder / 'one.mp4').symlink_to(disk / 'x.mp4')  # a file of another name: a clip
    assert below(folder) == ['a/deep/y.mp4', 'a/x.mp4', 'one.mp4', 'z.mp4']


def test_a_folder_that_may_not_be_read_is_said(tmp_path, monkeypatch, said):
    touch(tmp_path, 'a/1.mp4', 'b/2.mp4')
    scan = os.scandir

    def guarded(path):
        if str(path).endswith('/b'):
            raise PermissionError(13, 'Permission denied', path)
        return scan(path)

    monkeypatch.setattr(os, 'scandir', guarded)
    assert below(tmp_path) == ['a/1.mp4']
    (line,) = said
    assert 'b: Permission denied; the clips below it are left out' in line


def test_a_name_that_is_no_text_is_left_out_and_said(tmp_path, said):
    touch(tmp_path, 'a.mp4')
    with open(os.fsencode(tmp_path) + b'/\xe9t\xe9.mp4', 'wb'):
        pass
    assert len(media_files(tmp_path)) == 2
    assert FolderIndex([tmp_path]).names() == ['a']
    assert ClipIndex([tmp_path], ['a']).find(ListedClip('a')).clip
    assert len(said) == 2
    assert '1 files are left out' in said[0] and r'\xe9t\xe9.mp4' in said[0]


@pytest.mark.parametrize('on_disk', ['NFC', 'NFD'])
@pytest.mark.parametrize('in_list', ['NFC', 'NFD'])
def test_accents_however_they_are_composed(tmp_path, on_disk, in_list):
    name = unicodedata.normalize(on_disk, 'Ménage/été.mp4')
    index = FolderIndex([touch(tmp_path, name)])
    listed = ListedClip(unicodedata.normalize(in_list, 'Ménage/été.mp4'))
    assert index.find(listed).clip == str(tmp_path / name)
    assert index.find(ListedClip(index.names()[0])).clip == str(tmp_path / name)


@pytest.mark.parametrize(
    'source',
    ['./b/x.mp4', 'b//x', 'b/../b/x.MP4', '{root}/b/x.mp4', '{root}//b/./x', 'to/x.mp4',
     'clips/b/x.mp4', './clips/b/x', '{linked}/b/x.mp4', '{linked}/to/x'],
)  # fmt: skip
@pytest.mark.parametrize('given', ['{root}', 'clips', '{linked}'])
def test_a_path_in_a_list_may_be_written_in_many_ways(
    tmp_path, monkeypatch, source, given
):
    root, linked = touch(tmp_path / 'clips', 'b/x.mp4'), tmp_path / 'linked'
    (root / 'to').symlink_to('b')
    linked.symlink_to(root)
    monkeypatch.chdir(tmp_path)
    index = FolderIndex([given.format(root=root, linked=linked)])
    found = index.find(ListedClip(source.format(root=root, linked=linked)))
    assert os.path.samefile(found.clip, root / 'b/x.mp4')
    for other in ('../x.mp4', '/b/x.mp4', 'x.mp4', 'b', 'x\0y'):
        assert index.find(ListedClip(other)) is None


def test_of_two_files_of_a_name_the_suffix_decides(tmp_path, said):
    touch(tmp_path, 'a.avi', 'a.mp4', 'a.mkv', 'b.mp4')
    index = FolderIndex([tmp_path])
    for name in ('a.avi', 'a.mp4', 'a.MKV'):
        assert index.find(ListedClip(name)).clip == str(tmp_path / name.lower())
    assert index.names() == ['a', 'a.mkv', 'a.mp4', 'b'] and not said
    found = [index.find(ListedClip(name)).clip for name in index.names()]
    names = ('a.avi', 'a.mkv', 'a.mp4', 'b.mp4')
    assert found == [str(tmp_path / name) for name in names]


def test_of_two_sounds_of_a_name_none_is_lost_unsaid(tmp_path, said):
    touch(tmp_path, 'a.flac', 'a.wav', 'b.mp4', 'b.flac', 'b.wav')
    index = FolderIndex([tmp_path])
    assert index.names() == ['a', 'a.wav', 'b']
    (line,) = said
    assert line.startswith('1 videos have more than one sound') and 'b.wav' in line
