import json

import pytest

from coavt_mm.datasets.labels import class_ids, class_names
from coavt_mm.datasets.preparation import (
    ListedClip,
    read_audiocaps,
    read_audioset,
    read_folder_csv,
    read_valor,
    read_vggsound,
)
from coavt_mm.errors import ConfigError, DatasetMissingError, ManifestError

AUDIOSET = (
    '# Segments csv created Sun Mar  5 10:54:25 2017\n'
    '# num_ytids=2, num_segs=2, num_unique_labels=3, num_positive_labels=3\n'
    '# YTID, start_seconds, end_seconds, positive_labels\n'
    '--aaaaaaaa0, 0.000, 8.500, "/m/09x0r,/m/05zppz"\n'
    'Yaaaaaaaaa1, 30.000, 40.000, "/m/09x0r"\n'
)
AUDIOCAPS = (
    'audiocap_id,youtube_id,start_time,caption\n'
    '11,-aaaaaaaaa0,30,"A bell, then another one"\n'
    '12,-aaaaaaaaa0,30,Bells ring\n'
    '13,baaaaaaaaa1,0,"A ""loud"" horn"\n'
)


def write(path, text):
    path.write_text(text, encoding='utf-8')
    return path


@pytest.mark.parametrize(
    ('name', 'count', 'first', 'last'),
    [
        ('audioset', 527, 'Speech', 'Field recording'),
        ('vggsound', 309, 'ambulance siren', None),
    ],
)
def test_class_lists(name, count, first, last):
    names = class_names(name)
    assert len(names) == len(set(names)) == count
    assert names[0] == first
    assert last is None or names[-1] == last


def test_class_ids():
    assert class_ids('audioset')['/m/09x0r'] == 'Speech'
    with pytest.raises(ConfigError, match='audioset, vggsound'):
        class_ids('vgg')


def test_vggsound(tmp_path):
    path = write(
        tmp_path / 'vggsound.csv',
        '---g-f_I2yQ,1,"bird chirping, tweeting",test\n'
        '--0PQM4-hqg,30,basketball bounce,train\n'
        '\n'
        '--0PQM4-hqg,40,basketball bounce,train\n',
    )
    splits = read_vggsound(path)
    assert splits['test'] == [
        ListedClip('---g-f_I2yQ', 1.0, 11.0, ['bird chirping, tweeting'])
    ]
    assert [clip.clip_id for clip in splits['train']] == [
        '--0PQM4-hqg_000030', '--0PQM4-hqg_000040',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('row', 'reason'),
    [
        ('abc,30,basketball bounce', '4 columns expected, 3 found'),
        ('abc,x,basketball bounce,train', "'x' is no number"),
        ('abc,-1,basketball bounce,train', '0 s or later'),
        ('abc,1,basketball bonce,train', "did you mean 'basketball bounce'"),
        ('abc,1,basketball bounce,dev', 'neither train nor test'),
        (' ,1,basketball bounce,train', 'the id is empty'),
        ('abc,1,"basketball bounce,train', 'unexpected end of data'),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, row, reason):
    good = 'abc,1,"bird chirping, tweeting",train\n'
    path = write(tmp_path / 'vggsound.csv', good + row + '\n')
    with pytest.raises(ManifestError, match=f'vggsound.csv:2: .*{reason}'):
        read_vggsound(path)


def test_audioset(tmp_path):
    clips = read_audioset(write(tmp_path / 'eval_segments.csv', AUDIOSET))
    assert clips[0].labels == ['Speech', 'Male speech, man speaking']
    assert (clips[0].clip_id, clips[0].end) == ('--aaaaaaaa0_000000', 8.5)
    bad = AUDIOSET.replace('"/m/09x0r"', '"/m/0"')
    with pytest.raises(ManifestError, match=':5: .*/m/0'):
        read_audioset(write(tmp_path / 'bad.csv', bad))


def test_audiocaps(tmp_path):
    path = write(tmp_path / 'val.csv', AUDIOCAPS)
    first, second = read_audiocaps(path)
    assert first.captions == ['A bell, then another one', 'Bells ring']
    assert (first.start, first.end) == (30.0, 40.0)
    assert second.captions == ['A "loud" horn']
    assert read_audiocaps(path, 'audio_captions')[1].audio_captions == second.captions
    with pytest.raises(ManifestError, match=':1: the header'):
        read_audiocaps(write(path, 'youtube_id,start_time,caption\nx,0,y\n'))


def test_valor(tmp_path):
    entries = [
        dict(video_id='a_b_30.500_40.500', desc='one'),
        dict(video_id='a_b_30.500_40.500', desc=['two', 'three']),
        dict(video_id='plain', desc='four'),
    ]
    path = write(tmp_path / 'desc_test.json', json.dumps(entries))
    first, second = read_valor(path)
    assert (first.source, first.start, first.end) == ('a_b', 30.5, 40.5)
    assert first.clip_id == 'a_b_000030.500'
    assert first.captions == ['one', 'two', 'three']
    assert (second.clip_id, second.start) == ('plain', None)
    write(path, json.dumps([*entries, dict(video_id='x', desc=' ')]))
    with pytest.raises(ManifestError, match='entry 4: .*desc'):
        read_valor(path)


def test_own_csv(tmp_path):
    path = write(
        tmp_path / 'own.csv',
        'clip,label,caption,split,start,end\n'
        'a.mp4,dog,it barks,train,,\na.mp4,cat,,train,,\nb,,,test,1,2.5\n',
    )
    splits = read_folder_csv(path)
    assert splits['train'][0].labels == ['dog', 'cat']
    assert splits['train'][0].captions == ['it barks']
    assert splits['test'] == [ListedClip('b', 1.0, 2.5)]
    with pytest.raises(ManifestError, match=":1: .*'lable'; did you mean 'label'"):
        read_folder_csv(write(path, 'clip,lable\na,b\n'))


def test_missing_list(tmp_path):
    for read in (read_vggsound, read_valor):
        with pytest.raises(DatasetMissingError, match='no.csv is missing'):
            read(tmp_path / 'no.csv')
