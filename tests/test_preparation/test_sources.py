import json

import pytest

from coavt_mm.datasets.labels import class_ids, class_names
from coavt_mm.errors import ConfigError, DatasetMissingError, ManifestError
from coavt_mm.preparation import (
    ListedClip,
    read_audiocaps,
    read_audioset,
    read_folder_csv,
    read_valor,
    read_vggsound,
)

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
        ('abc,1e12,basketball bounce,train', 'below 1e.09 s'),
        ('# abc,1,basketball bonce,train', "did you mean 'basketball bounce'"),
        ('abc;1;basketball bounce;train', '1 found; .* separated by semicolons'),
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


def test_a_hash_begins_a_comment_in_the_head_of_audioset_alone(tmp_path):
    path = write(tmp_path / 'own.csv', 'clip,caption\n#1.mp4,a\n# b,c\n#,d\n')
    assert [clip.source for clip in read_folder_csv(path)['all']] == [
        '#1.mp4', '# b', '#'
    ]  # fmt: skip
    path = write(tmp_path / 'vgg.csv', '#bcdefghijk,1,ambulance siren,test\n')
    assert read_vggsound(path)['test'][0].source == '#bcdefghijk'
    path = write(tmp_path / 'val.csv', f'{AUDIOCAPS}14,#aaaaaaaaa1,0,#x\n')
    assert read_audiocaps(path)[-1].captions == ['#x']
    path = write(tmp_path / 'a.csv', f'{AUDIOSET}#bc, 1, 2, "/m/09x0r"\n')
    assert [clip.source for clip in read_audioset(path)] == [
        '--aaaaaaaa0', 'Yaaaaaaaaa1', '#bc'
    ]  # fmt: skip


def test_spans_with_one_start_and_other_ends(tmp_path):
    path = write(
        tmp_path / 'own.csv',
        'clip,start,end,caption\nb,30,40,other file\n'
        'a,30,40,one\na,30,45.5,two\na,30,40,three\na,30,,four\na,50,60,five\n'
        'a,50.0001,60,six\n',
    )
    assert {clip.clip_id: clip.captions for clip in read_folder_csv(path)['all']} == {
        'b_000030': ['other file'],
        'a_000030_000040': ['one', 'three'],
        'a_000030_000045.500': ['two'],
        'a_000030': ['four'],
        'a_000050': ['five', 'six'],
    }
    entries = [
        dict(video_id='a_30_40', desc='one'), dict(video_id='a_30_50', desc='two')
    ]  # fmt: skip
    clips = read_valor(write(tmp_path / 'v.json', json.dumps(entries)))
    assert [(c.clip_id, c.captions) for c in clips] == [
        ('a_000030_000040', ['one']), ('a_000030_000050', ['two'])
    ]  # fmt: skip
    write(path, 'clip,start\na_000030,\na,30\n')
    with pytest.raises(ManifestError, match="two clips would have the id 'a_000030'"):
        read_folder_csv(path)


@pytest.mark.parametrize('name', ['train', 'val-2.1_b', 'été', '.hidden', '...'])
def test_names_of_splits(tmp_path, name):
    path = write(tmp_path / 'own.csv', f'clip,split\na, {name} \n')
    assert list(read_folder_csv(path)) == [name]


@pytest.mark.parametrize(
    'name', ['/abs/x', '../../x', 'a/b', '.', '..', 'a b', 'x' * 101, '"a\nb"', 'a\\b']
)
def test_a_split_is_no_path(tmp_path, name):
    path = write(tmp_path / 'own.csv', f'clip,split\na,train\nb,{name}\n')
    with pytest.raises(ManifestError, match='own.csv:3: split '):
        read_folder_csv(path)


def test_lists_as_spreadsheets_save_them(tmp_path):
    path = write(
        tmp_path / 'own.csv',
        '\ufeffClip, Audio Caption ,START,End,,\r\n'
        '"a.mp4", barks , 1,2 ,,\r\n,,,,,\r\n',
    )
    assert read_folder_csv(path) == dict(
        all=[ListedClip('a.mp4', 1.0, 2.0, audio_captions=['barks'])]
    )
    saved = ''.join(f'{line},,\r\n' for line in AUDIOCAPS.splitlines())
    path = write(tmp_path / 'val.csv', f'\ufeff{saved}')
    assert len(read_audiocaps(path)) == 2
    path = write(tmp_path / 'vgg.csv', '\ufeffabc,1,ambulance siren,test,\r\n')
    assert read_vggsound(path)['test'][0].source == 'abc'
    path = write(tmp_path / 'v.json', '\ufeff[{"video_id": "a", "desc": "ü"}]')
    assert read_valor(path) == [ListedClip('a', captions=['ü'])]


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ('5', 'a list of entries is expected'),
        ('{"a": 1}', 'a list of entries is expected'),
        ('[5]', 'entry 1: an object is expected'),
        ('[{"video_id": 5, "desc": "x"}]', "entry 1: the 'video_id' is empty"),
        ('[{"video_id": "a", "desc": [["x"]]}]', "entry 1: the 'desc' is empty"),
        ('[{"video_id": "a", "desc": "\\ud800"}]', "'desc' holds NUL or half"),
        ('[{"video_id": "a\\u0000", "desc": "x"}]', "'video_id' holds NUL or half"),
        ('[{"video_id": "a_1_1' + '0' * 400 + '", "desc": "x"}]', 'end must be 0 s'),
        ('[' * 200_000, 'nested too deep'),
        ('[{', 'line 1'),
    ],
)
def test_valor_of_other_kinds(tmp_path, content, reason):
    path = write(tmp_path / 'v.json', content)
    with pytest.raises(ManifestError, match=f'v.json: .*{reason}'):
        read_valor(path)


def test_a_name_of_valor_that_is_no_span(tmp_path):
    entries = [dict(video_id='clip_9_3', desc='x')]
    clips = read_valor(write(tmp_path / 'v.json', json.dumps(entries)))
    assert clips == [ListedClip('clip_9_3', captions=['x'])]


def test_missing_list(tmp_path):
    for read in (read_vggsound, read_valor):
        with pytest.raises(DatasetMissingError, match='no.csv is missing'):
            read(tmp_path / 'no.csv')
