import json
import os
import signal

import pytest
from media_files import write_rows

from coavt_mm.datasets.manifest import ROW_KEYS, content_hash, iter_manifest, parse_row
from coavt_mm.datasets.shards.index import read_index
from coavt_mm.errors import ConfigError, ManifestError
from coavt_mm.preparation import shards as making
from coavt_mm.preparation.shards import (
    Settings,
    make_shards,
    manifest_row,
    pack_clip,
    verify,
)

SMALL = Settings(num_frames=2, short_side=24, seconds=0.5)


def test_the_index_says_what_lies_where(corpus, made):
    header, rows = read_index(str(made / 'index.jsonl'))
    assert header['hash'] == content_hash(corpus)
    assert header['protocol'] == 'small-12' and header['missing'] == 3
    assert [shard['samples'] for shard in header['shards']] == [4, 4, 3]
    (failed,) = header['failed']
    assert failed['id'] == 'broken' and 'broken.mp4' in failed['reason']
    whole = list(iter_manifest(corpus))[:11]
    keys = whole[0].keys()
    assert [{key: row[key] for key in keys} for row in rows] == whole


def test_webdataset_reads_the_shards(made):
    webdataset = pytest.importorskip('webdataset')
    shards = sorted(map(str, made.glob('*.tar')))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode('rgb8'))
    assert len(samples) == 11
    first = samples[0]
    assert first['__key__'] == '00000000' and first['00.jpg'].shape == (48, 64, 3)
    assert '09.jpg' in first and '10.jpg' not in first
    about = first['json']
    assert about['id'] == 'plain' and about['captions'] == ['about plain']
    assert about['audio_samples'] == 32000 and about['sample_rate'] == 16000
    assert about['has_audio'] and about['has_visual']
    assert about['frame_times'][0] == 0.1 and len(about['frame_times']) == 10
    flags = {s['json']['id']: (s['json']['has_audio'], s['json']['has_visual'])
             for s in samples}  # fmt: skip
    assert flags['no_sound'] == (False, True) and flags['no_picture'] == (True, False)
    parse_row({k: v for k, v in about.items() if k in ROW_KEYS})


def test_rows_survive_the_way_back(corpus):
    for row in iter_manifest(corpus):
        assert parse_row(manifest_row(row)) == row


def test_a_stopped_run_goes_on(corpus, made, copied, monkeypatch):
    (copied / 'shard-000001.json').unlink()  # stopped before the shard was whole
    (copied / 'index.jsonl').unlink()
    packed, real = [], making.pack_clip

    def pack(row, *args):
        packed.append(row['sample_id'])
        return real(row, *args)

    monkeypatch.setattr(making, 'pack_clip', pack)
    settings = Settings(short_side=48, quality=95)
    options = dict(per_shard=4, workers=0)
    make_shards(corpus, copied, settings=settings, **options)
    assert packed == ['no_sound', 'silent', 'no_picture', 'short_sound']
    for path in made.iterdir():
        assert (copied / path.name).read_bytes() == path.read_bytes()
    make_shards(corpus, copied, settings=settings, **options)
    assert len(packed) == 4
    make_shards(corpus, copied, settings=SMALL, **options)  # other settings
    assert len(packed) == 16


def test_a_crash_leaves_nothing_that_looks_finished(corpus, tmp_path, monkeypatch):
    def crash(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(making, 'pack_clip', crash)
    with pytest.raises(KeyboardInterrupt):
        make_shards(corpus, tmp_path, workers=0)
    assert [path.suffix for path in tmp_path.iterdir()] == ['.tmp']


def test_processes_make_the_same(corpus, tmp_path):
    seen = []
    for workers in (1, 2):
        make_shards(
            corpus, tmp_path / str(workers), settings=SMALL, per_shard=6,
            workers=workers, on_report=lambda report, total: seen.append(total),
        )  # fmt: skip
    assert seen == [2] * 4
    for path in (tmp_path / '1').iterdir():
        assert path.read_bytes() == (tmp_path / '2' / path.name).read_bytes()


@pytest.mark.slow
def test_a_clip_that_kills_its_process_is_named(corpus, tmp_path, forked, monkeypatch):
    def pack(row, *args):
        if row['sample_id'] in ('odd', 'silent'):
            os.kill(os.getpid(), signal.SIGKILL)
        return pack_clip(row, *args)

    monkeypatch.setattr(making, 'pack_clip', pack)
    options = dict(settings=SMALL, per_shard=4, workers=2)
    header = make_shards(corpus, tmp_path, **options)
    failed = {clip['id']: clip['reason'] for clip in header['failed']}
    assert failed.keys() == {'odd', 'silent', 'broken'}
    assert failed['odd'] == 'the process that read it died (SIGKILL, out of memory?)'
    assert [shard['samples'] for shard in header['shards']] == [3, 3, 3]
    assert verify(tmp_path) == []


def test_verify_names_what_is_wrong(copied):
    assert verify(copied) == []
    content = bytearray((copied / 'shard-000000.tar').read_bytes())
    content[5000] ^= 1
    (copied / 'shard-000000.tar').write_bytes(content)
    (copied / 'shard-000001.tar').write_bytes(b'short')
    (copied / 'shard-000002.tar').unlink()
    first, second, third = verify(copied)
    assert first == 'shard-000000.tar: its content has changed (sha256)'
    assert second.startswith('shard-000001.tar: 5 bytes, not ')
    assert third == 'shard-000002.tar: missing'


def test_only_whole_indices_are_read(copied):
    index = copied / 'index.jsonl'
    lines = index.read_text().splitlines()
    for content, message in (
        (lines[:-1], '10 samples, its header says 11'),
        (lines[:3] + ['{"shard": '] + lines[4:], 'index.jsonl:4: '),
        (lines[:3] + ['{"shard": 0}'] + lines[4:], 'index.jsonl:4: .*row'),
        (['{"id": "a", "clip": "b.mp4"}'], 'no index of shards'),
        ([], 'no index of shards'),
    ):
        index.write_text('\n'.join(content))
        with pytest.raises(ManifestError, match=message):
            read_index(str(index))


@pytest.mark.parametrize(
    'options', [dict(codec='mp3'), dict(quality=0), dict(num_frames=101)]
)
def test_settings_are_checked(options):
    with pytest.raises(ConfigError, match=f'{next(iter(options))}='):
        Settings(**options)


def test_reports_are_json(made):
    report = json.loads((made / 'shard-000002.json').read_text())
    assert report['failed'][0]['id'] == 'broken' and len(report['samples']) == 3


def test_the_chamber_of_horrors(horrors, tmp_path):
    """What can't be read is named; what is only odd lies in the shards."""
    bad = ('truncated', 'truncated_index_first', 'truncated_mkv', 'zero_bytes', 'text',
           'noise', 'missing', 'folder', 'fifo')  # fmt: skip
    os.mkfifo(tmp_path / 'pipe.mp4')
    rows = [
        {'id': name, 'clip': str(path)}
        for name, path in {**horrors, 'fifo': tmp_path / 'pipe.mp4'}.items()
    ]
    manifest = write_rows(tmp_path / 'm.jsonl', rows)
    header = make_shards(manifest, tmp_path / 'shards', settings=SMALL)
    assert {clip['id'] for clip in header['failed']} == set(bad)
    assert all(clip['reason'] for clip in header['failed'])
    _, kept = read_index(str(tmp_path / 'shards' / 'index.jsonl'))
    assert {row['sample_id'] for row in kept} == {*horrors} - {*bad}


@pytest.mark.parametrize('fault', ['memory', 'crash'])
def test_a_clip_that_takes_too_much_costs_itself(
    corpus, tmp_path, forked, monkeypatch, fault
):
    """With the workers of the default, too."""

    def pack(row, *args):
        if row['sample_id'] == rows[1]['id']:
            bytearray(64 << 30) if fault == 'memory' else os.kill(os.getpid(), 9)
        return pack_clip(row, *args)

    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    monkeypatch.setattr(making, 'pack_clip', pack)
    header = make_shards(corpus, tmp_path, settings=SMALL, per_shard=4)
    reasons = {clip['id']: clip['reason'] for clip in header['failed']}
    wanted = 'out of memory' if fault == 'memory' else 'died (SIGKILL'
    assert wanted in reasons[rows[1]['id']] and len(reasons) == 2  # with 'broken'
