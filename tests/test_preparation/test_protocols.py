import json
import re

import pytest
from media_files import write_rows

from coavt_mm.datasets import AVTDataset
from coavt_mm.datasets.labels import class_names
from coavt_mm.datasets.manifest import content_hash, read_sidecar
from coavt_mm.errors import ConfigError, ManifestError
from coavt_mm.preparation import protocols
from coavt_mm.preparation.protocols import (
    VGGSOUNDER_RELEASES,
    make_protocol,
    read_ids,
    read_vggsounder,
    recording,
    release_of,
)

VGG = class_names('vggsound')


def ids(path):
    return [json.loads(line)['id'] for line in path.read_text().splitlines()]


def video(number):
    return f'{number:011d}'


@pytest.mark.parametrize(
    ('clip', 'source'),
    [
        ('abc_def-g_1', 'abc_def-g_1'),
        ('abc_def-g_1_000030', 'abc_def-g_1'),
        ('abc_def-g_1_30.000_40.000', 'abc_def-g_1'),
        ('Yabc_def-g_1', 'abc_def-g_1'),
        ('Yabc_def-g_1_30', 'abc_def-g_1'),
        ('Yabcdefghij', 'Yabcdefghij'),  # eleven characters: the Y belongs to it
        ('abcd_000030', 'abcd_000030'),  # eleven characters
        ('my_clip_000030', 'my_clip'),
        ('my_clip_2', 'my_clip_2'),
        ('my clip', 'my clip'),
    ],
)
def test_recording(clip, source):
    assert recording(clip) == source


@pytest.fixture
def audiocaps(tmp_path):
    """900 of 975 clips with 5 captions each, as prepared."""
    rows = [
        {'id': f'{video(i)}_000030', 'clip': f'{i}.mp4', 'captions': list('abcde')}
        for i in range(900)
    ]
    path = write_rows(tmp_path / 'test.jsonl', rows)
    (tmp_path / 'test.meta.json').write_text(json.dumps(dict(missing=75)))
    return path


def test_official(audiocaps, tmp_path):
    sidecar = make_protocol('audiocaps-official-975', audiocaps)
    path = tmp_path / 'audiocaps-official-975.jsonl'
    assert sidecar == dict(
        protocol='audiocaps-official-975', missing=75, clips=900, captions=4500,
        hash=content_hash(path), source=f'test.jsonl ({content_hash(audiocaps)})',
    )  # fmt: skip
    info = AVTDataset(str(path)).metainfo
    for key in ('protocol', 'hash', 'clips', 'captions', 'missing'):
        assert info[key] == sidecar[key]
    assert make_protocol('audiocaps-available', audiocaps)['missing'] == 75


@pytest.mark.parametrize(('clips', 'loud'), [(2, True), (926, True), (927, False)])
def test_too_many_missing_are_said(tmp_path, monkeypatch, clips, loud):
    said = []
    monkeypatch.setattr(protocols, 'print_log', lambda text, **_: said.append(text))
    rows = [{'id': f'{video(i)}_000030', 'clip': f'{i}.mp4'} for i in range(clips)]
    manifest = write_rows(tmp_path / 'test.jsonl', rows)
    make_protocol('audiocaps-official-975', manifest)
    assert len(said) == loud
    if loud:
        assert f'ONLY {clips} OF 975 CLIPS ARE THERE' in said[0]


@pytest.mark.parametrize('suffix', ['.txt', '.csv', '.jsonl'])
def test_list_of_ids(audiocaps, tmp_path, suffix):
    names = [video(i) for i in range(200, 1016)]  # 700 are there, 116 are not
    path = tmp_path / f'oncescu{suffix}'
    if suffix == '.jsonl':
        write_rows(path, [{'id': f'{n}_000030', 'clip': 'x'} for n in names])
    else:
        head = 'audiocap_id,youtube_id\n' if suffix == '.csv' else '# ids\n'
        lead = '1,' if suffix == '.csv' else ''
        path.write_text(head + ''.join(f'{lead}{name}\n' for name in names))
    sidecar = make_protocol('audiocaps-oncescu-816', audiocaps, ids=path)
    assert (sidecar['clips'], sidecar['missing']) == (700, 116)
    assert path.name in sidecar['source']
    assert content_hash(path) in sidecar['source']


def test_ids_with_and_without_start(tmp_path):
    a, b = video(1), video(2)
    rows = [{'id': f'{a}_000030', 'clip': 'x'}, {'id': f'{a}_000090', 'clip': 'x'},
            {'id': b, 'clip': 'y'}]  # fmt: skip
    manifest = write_rows(tmp_path / 'm.jsonl', rows)
    lists = {'exact': f'{a}_000030\n{b}_000010\n', 'loose': f'{a}\n'}
    for name, text in lists.items():
        (tmp_path / f'{name}.txt').write_text(text)
    out = tmp_path / 'o' / 'out.jsonl'
    make_protocol('audiocaps-available', manifest, out, tmp_path / 'exact.txt')
    assert ids(out) == [f'{a}_000030', b]
    make_protocol('audiocaps-available', manifest, out, tmp_path / 'loose.txt')
    assert ids(out) == [f'{a}_000030', f'{a}_000090']


@pytest.fixture
def vggsound(tmp_path):
    """Seven clips of each class but the last, which has three."""
    rows = [
        {'id': f'{video(7 * c + i)}_000001', 'clip': 'x.mp4', 'labels': [label]}
        for c, label in enumerate(VGG)
        for i in range(3 if c == 308 else 7)
    ]
    return write_rows(tmp_path / 'test.jsonl', rows)


def test_five_clips_a_class(vggsound, tmp_path):
    first = make_protocol('vggsound-av-5', vggsound)
    out = tmp_path / 'vggsound-av-5.jsonl'
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    counts = dict.fromkeys(VGG, 0)
    for row in rows:
        counts[row['labels'][0]] += 1
    assert [counts[name] for name in VGG] == [5] * 308 + [3]
    assert (first['clips'], first['missing']) == (1543, 2)
    assert make_protocol('vggsound-av-5', vggsound)['hash'] == first['hash']
    assert 'seed 0' in first['source']
    other = make_protocol('vggsound-av-5', vggsound, tmp_path / 'o.jsonl', seed=1)
    assert other['hash'] != first['hash']


def test_a_missing_clip_changes_one_pick(vggsound, tmp_path):
    make_protocol('vggsound-av-5', vggsound)
    before = set(ids(tmp_path / 'vggsound-av-5.jsonl'))
    gone = min(before)
    rows = [json.loads(x) for x in vggsound.read_text().splitlines() if gone not in x]
    less = write_rows(tmp_path / 'less.jsonl', rows)
    make_protocol('vggsound-av-5', less)
    after = set(ids(tmp_path / 'vggsound-av-5.jsonl'))
    assert before - after == {gone}
    assert len(after - before) == 1


def test_a_clip_may_stand_for_several_classes(tmp_path):
    both = [{'id': f'b{i}', 'clip': 'x', 'labels': ['Speech', 'Music']}
            for i in range(9)]  # fmt: skip
    path = write_rows(tmp_path / 'eval.jsonl', both)
    assert make_protocol('audioset-av-5', path)['clips'] == 5
    row = {'id': 'c', 'clip': 'x', 'labels': ['Spech']}
    write_rows(path, [*both, row])
    with pytest.raises(ConfigError, match="'Spech' is none of the 527"):
        make_protocol('audioset-av-5', path)


@pytest.mark.parametrize(
    ('name', 'labels', 'missing'),
    [
        ('vggsounder', {0: VGG[:2], 1: VGG[2:3]}, 1),
        ('vggsounder-a', {0: VGG[:1], 1: VGG[2:3]}, 0),
        ('vggsounder-v', {0: VGG[:2]}, 1),
        ('vggsounder-av', {0: VGG[:1]}, 0),
    ],
)
def test_relabels(vggsound, tmp_path, name, labels, missing):
    clips = [f'{video(i)}_000001' for i in (0, 1, 99999)]
    table = tmp_path / 'vggsounder.csv'
    table.write_text(
        'video_id,label,modality,background_music,static_image,voice_over\n'
        f'{clips[0]},"{VGG[0]}",AV,False,False,True\n'
        f'{clips[0]},"{VGG[1]}",V,False,False,True\n'
        f'{clips[1]},"{VGG[2]}",A,False,False,False\n'
        f'{clips[2]},"{VGG[2]}",V,False,False,False\n'
    )
    sidecar = make_protocol(name, vggsound, relabels=table)
    lines = (tmp_path / f'{name}.jsonl').read_text().splitlines()
    found = {row['id']: row['labels'] for row in map(json.loads, lines)}
    assert found == {clips[i]: names for i, names in labels.items()}
    assert sidecar['missing'] == missing


ROWS = [
    ['a_000001', VGG[0], 'AV'],
    ['b_000001', VGG[1], 'A'],
    ['a_000001', VGG[2], 'V'],
]


def vggsounder(
    path, rows=ROWS, newline='\n', head='video_id,label,modality,voice_over'
):
    text = newline.join([head, *(f'{a},"{b}",{c},False' for a, b, c in rows), ''])
    path.write_text(text, encoding='utf-8', newline='')
    return path


def test_a_release_is_told_by_its_content(tmp_path, monkeypatch):
    first = release_of(read_vggsounder(vggsounder(tmp_path / 'v.csv')))
    assert re.fullmatch('unknown-[0-9a-f]{12}', first)
    written = vggsounder(
        tmp_path / 'w.csv', ROWS[::-1], '\r\n', '\ufeffVIDEO_ID,label,modality,more'
    )
    assert release_of(read_vggsounder(written)) == first
    for changed in (ROWS[:2], [*ROWS[:2], [*ROWS[2][:2], 'A']]):
        other = read_vggsounder(vggsounder(tmp_path / 'x.csv', changed))
        assert release_of(other) not in (first, *VGGSOUNDER_RELEASES.values())
    monkeypatch.setitem(VGGSOUNDER_RELEASES, first.removeprefix('unknown-'), '1.0')
    assert release_of(read_vggsounder(written)) == '1.0'


def test_the_releases_of_the_package():
    assert VGGSOUNDER_RELEASES['cbfde11919a1'] == '1.0'
    assert VGGSOUNDER_RELEASES['d914af47e5a7'] == '0.1.6'


@pytest.mark.parametrize('release', ['1.0', '0.1.6', None])
def test_every_result_carries_the_release(tmp_path, monkeypatch, capsys, release):
    table = vggsounder(tmp_path / 'vggsounder.csv')
    digest = release_of(read_vggsounder(table))
    if release:
        known = {digest.removeprefix('unknown-'): release}
        monkeypatch.setattr(protocols, 'VGGSOUNDER_RELEASES', known)
    said = []
    monkeypatch.setattr(protocols, 'print_log', lambda text, **_: said.append(text))
    rows = [{'id': 'a_000001', 'clip': 'x.mp4'}, {'id': 'b_000001', 'clip': 'y.mp4'}]
    manifest = write_rows(tmp_path / 'test.jsonl', rows)
    sidecar = make_protocol('vggsounder-a', manifest, relabels=table)
    assert sidecar['protocol'] == f'vggsounder-a-{release or digest}'
    path = tmp_path / 'vggsounder-a.jsonl'
    assert AVTDataset(str(path)).metainfo['protocol'] == sidecar['protocol']
    assert bool(said) == (release is None)
    assert all(digest in text for text in said)


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('video_id,label\na,b\n', ':1: no columns video_id, label, modality'),
        ('video_id;label;modality\na;b;A\n', ':1: .*semicolons'),
        ('video_id,label,modality\na,b,a\n', ":2: modality 'a' is none of A, V, AV"),
        ('video_id,label,modality\na,b\n', ':2: 3 columns expected, 2 found'),
    ],
)
def test_relabels_that_are_none(tmp_path, text, reason):
    (tmp_path / 'v.csv').write_text(text)
    with pytest.raises(ManifestError, match=f'v.csv{reason}'):
        read_vggsounder(tmp_path / 'v.csv')


def test_files_that_a_protocol_makes_no_use_of(audiocaps, tmp_path):
    table = vggsounder(tmp_path / 'v.csv')
    with pytest.raises(ConfigError, match='makes no use of a VGGSounder file'):
        make_protocol('audiocaps-available', audiocaps, relabels=table)
    with pytest.raises(ConfigError, match='makes no use of a list of ids'):
        make_protocol('vggsounder', audiocaps, ids=table, relabels=table)


@pytest.mark.parametrize(
    ('name', 'ids_', 'message'),
    [
        ('audiocaps-oncescu-817', None, "did you mean 'audiocaps-oncescu-816'"),
        ('audiocaps-vast-729', None, 'needs the list of its 729 ids'),
        ('audiocaps-mteb-665', 'a\nb\n', 'has 665 clips, the list .* has 2 ids'),
        ('audiocaps-available', 'a\nb\n', 'no clip of .* belongs to it'),
        ('vggsounder', None, 'needs the file vggsounder.csv'),
    ],
)
def test_what_is_wrong_is_said(audiocaps, tmp_path, name, ids_, message):
    path = None
    if ids_:
        path = tmp_path / 'ids.txt'
        path.write_text(ids_)
    with pytest.raises(ConfigError, match=message):
        make_protocol(name, audiocaps, ids=path)


def test_too_many_clips_and_overwriting(tmp_path):
    rows = [{'id': video(i), 'clip': 'x'} for i in range(976)]
    manifest = write_rows(tmp_path / 'test.jsonl', rows)
    with pytest.raises(ConfigError, match='has 975 clips, .* has 976'):
        make_protocol('audiocaps-official-975', manifest)
    with pytest.raises(ConfigError, match='would overwrite'):
        make_protocol('audiocaps-available', manifest, manifest)
    assert read_sidecar(manifest) == {}


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        ('\ufeffid,youtube_id\n1,a\n2,b\n3,a\n', ['a', 'b']),  # not the number
        ('Video_ID,x\r\n a ,1\r\n,\r\n#b,2\r\n', ['a', '#b']),
        ('id,,\na,,\n', ['a']),
    ],
)
def test_csv_of_ids(tmp_path, content, found):
    (tmp_path / 'x.csv').write_text(content, encoding='utf-8', newline='')
    assert read_ids(tmp_path / 'x.csv') == found


def test_csv_without_ids(tmp_path):
    path = tmp_path / 'x.csv'
    for text, reason in (
        ('name\na\n', '1: no column youtube_id, video_id or id'),
        ('', '1: no column youtube_id'),
        ('id,x\na,1\n,2\n', '3: the id is empty'),
        ('id;x\na;1\n', '1: .*semicolons'),
    ):
        path.write_text(text)
        with pytest.raises(ManifestError, match=f'x.csv:{reason}'):
            read_ids(path)


def test_spans_of_one_start_keep_their_ids(tmp_path):
    rows = [{'clip': 'a.mp4', 'start': 30, 'end': end} for end in (40, 50)]
    manifest = write_rows(tmp_path / 'm.jsonl', rows)
    (tmp_path / 'ids.txt').write_text('a_30_50\n')
    out = tmp_path / 'out.jsonl'
    make_protocol('audiocaps-available', manifest, out, tmp_path / 'ids.txt')
    assert [json.loads(x) for x in out.read_text().splitlines()] == [
        dict(rows[1], id='a_30_50')
    ]
