"""Clips by their number: ranges, and nothing that the index doesn't list."""

import os
from pathlib import Path

import pytest

NAMES = ('0.mp4', '1.mp4', 'inner/2.mp4', 'inner/3.mp4', 'long <b>.mp4', 'sound.m4a')


@pytest.fixture
def clips(collection):
    """Path from the folder of clips on -> (number, path)."""
    query = 'SELECT id, path FROM clips'
    rows = collection._done(collection.index.catalogue.rows, query)
    folder = collection.folder.parent / 'clips'
    paths = {number: os.fsdecode(path) for number, path in rows}
    return {os.path.relpath(path, folder): (n, path) for n, path in paths.items()}


@pytest.mark.parametrize('name', NAMES)
def test_a_clip_comes_as_it_lies_there(name, clips, ask):
    number, path = clips[name]
    status, headers, body = ask(f'/clip/{number}')
    assert (status, body) == (200, Path(path).read_bytes())
    assert headers['content-type'] in ('video/mp4', 'audio/mp4', 'audio/x-m4a')
    assert headers['content-length'] == str(len(body))
    assert headers['x-content-type-options'] == 'nosniff'
    assert 'sandbox' in headers['content-security-policy']


RANGES = [
    ('bytes=0-', 0, None), ('bytes=10-19', 10, 20), ('bytes=-5', -5, None),
    ('bytes=100-999999999', 100, None),
]  # fmt: skip


@pytest.mark.parametrize(('wanted', 'first', 'end'), RANGES)
def test_ranges(wanted, first, end, clips, ask):
    number, path = clips['0.mp4']
    whole = Path(path).read_bytes()
    status, headers, body = ask(f'/clip/{number}', Range=wanted)
    assert (status, body) == (206, whole[first:end])
    begin = first % len(whole)
    told = f'bytes {begin}-{begin + len(body) - 1}/{len(whole)}'
    assert headers['content-range'] == told


def test_a_player_gets_no_more_than_a_piece_at_once(clips, ask, monkeypatch):
    from coavt_mm.app import files

    monkeypatch.setattr(files, 'PIECE', 100)
    number, path = clips['0.mp4']
    status, headers, body = ask(f'/clip/{number}', Range='bytes=50-')
    assert (status, body) == (206, Path(path).read_bytes()[50:150])
    assert headers['content-range'].startswith('bytes 50-149/')


@pytest.mark.parametrize('wanted', ['bytes=999999999-', 'bytes=5-4', 'bytes=-0'])
def test_a_range_that_there_is_not(wanted, clips, ask):
    assert ask(f'/clip/{clips["0.mp4"][0]}', Range=wanted)[0] == 416


@pytest.mark.parametrize('wanted', ['bytes=', 'bytes=-', 'lines=0-1', 'bytes=0-1,3-4',
                                    f'bytes={"9" * 5000}-'])  # fmt: skip
def test_what_is_no_range_gets_the_whole(wanted, clips, ask):
    number, path = clips['0.mp4']
    status, _, body = ask(f'/clip/{number}', Range=wanted)
    assert (status, len(body)) == (200, os.path.getsize(path))


@pytest.mark.parametrize('number', ['0', '-1', '999', str(2**63), '9' * 400, '1.0',
                                    '1%2f..%2f2', '%31/../2', 'a', ''])  # fmt: skip
def test_no_such_clip(number, ask):
    status, _, body = ask(f'/clip/{number}')
    assert status == 404, body


def test_a_clip_without_a_sound_beside_it(clips, ask):
    assert ask(f'/clip/{clips["0.mp4"][0]}/sound')[0] == 404


def test_a_file_that_was_exchanged_is_refused(collection, clips, ask):
    """By a link that leads elsewhere, by another file, by none."""
    number, path = clips['inner/3.mp4']
    kept = path + '.kept'
    os.rename(path, kept)
    try:
        status, _, body = ask(f'/clip/{number}')
        assert (status, b'not there' in body) == (404, True)
        os.symlink(collection.folder.parent / 'secret.mp4', path)
        status, _, body = ask(f'/clip/{number}')
        assert (status, b'search add' in body) == (404, True)
        os.unlink(path)
        os.symlink(collection.folder / 'catalogue.sqlite', path)
        assert ask(f'/clip/{number}')[0] == 404
        os.unlink(path)
        os.mkfifo(path)
        assert ask(f'/clip/{number}')[0] == 404
    finally:
        os.unlink(path)
        os.rename(kept, path)
    assert ask(f'/clip/{number}')[0] == 200


def test_an_index_may_list_what_it_likes(collection, ask):
    """What is no clip by its name isn't served, whatever was noted of it."""
    import sqlite3

    secret = collection.folder.parent / 'secret.key'
    secret.write_text('secret')
    status = secret.stat()
    with sqlite3.connect(collection.folder / 'catalogue.sqlite') as file:
        row = file.execute(
            'INSERT INTO clips (path, sound, place, size, changed, state) '
            "VALUES (?, x'', x'2f', ?, ?, 'there')",
            (os.fsencode(secret), status.st_size, status.st_mtime_ns),
        )
        file.commit()
        try:
            answer = ask(f'/clip/{row.lastrowid}')
        finally:
            file.execute('DELETE FROM clips WHERE id = ?', (row.lastrowid,))
    assert answer[0] == 404 and b'neither sound nor picture' in answer[2]


def test_kinds():
    from coavt_mm.app.files import media_kind

    assert media_kind('a.mp4') == 'video/mp4'
    assert media_kind('a.WAV').startswith('audio/')
    assert media_kind('a.caf').startswith(('audio/', 'video/'))
    for name in ('a.html', 'a.svg', 'a.js', 'a', 'a.mp4.html'):
        assert media_kind(name) is None
