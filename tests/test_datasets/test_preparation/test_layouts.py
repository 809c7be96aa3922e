import pytest

from coavt_mm.datasets.preparation import ClipIndex, FolderIndex, ListedClip
from coavt_mm.errors import DatasetMissingError

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
