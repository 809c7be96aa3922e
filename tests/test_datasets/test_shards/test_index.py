"""An index that somebody else wrote: kinds, and nothing outside of its folder."""

import json

import pytest

from coavt_mm.datasets import AVTShardDataset
from coavt_mm.datasets.shards.index import INDEX_NAME, read_index
from coavt_mm.errors import ManifestError

DIGITS = '0' * 64


def write_index(folder, shard=(), header=(), sample=()):
    """An index of one shard with one sample; `None` leaves a key out."""
    shards = [dict(name='s.tar', samples=1, bytes=2048, sha256=DIGITS) | dict(shard)]
    head = dict(version=1, protocol='p', hash='h', settings=dict(sample_rate=16000),
                failed=[], shards=shards) | dict(header)  # fmt: skip
    row = dict(id='a', clip='b.mp4')
    line = dict(shard=0, key='0', offset=0, size=1024, crc32=1, audio_samples=0,
                frame_times=[], row=row) | dict(sample)  # fmt: skip
    lines = [{k: v for k, v in node.items() if v is not None} for node in (head, line)]
    path = folder / INDEX_NAME
    path.write_text(''.join(json.dumps(node) + '\n' for node in lines))
    return path


NAMES = ('/abs/s.tar', '../s.tar', '..', '.', '', 'a\\s.tar', 'ftp://h/s.tar', 's::t',
         'http:127.0.0.1:9', 's.tar\n', 5, '.s.tar', '-s.tar')  # fmt: skip


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('plain', [False, True], ids=['path', 'plain name'])
def test_shards_lie_beside_their_index(tmp_path, monkeypatch, name, plain):
    path = write_index(tmp_path, dict(name=name))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError, match=r'index.jsonl:1: ') as caught:
        AVTShardDataset(INDEX_NAME if plain else str(path))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('digits', ['/abs/victim', DIGITS[1:], 'G' * 64, 5, None])
def test_a_checksum_is_64_hex_digits(tmp_path, digits):
    with pytest.raises(ManifestError, match='index.jsonl:1: '):
        read_index(str(write_index(tmp_path, dict(sha256=digits))))


HEADERS = dict(protocol=5, hash=None, settings=5, failed='abc', shards=5, classes=5,
               missing='x', ceilings=5)  # fmt: skip
OTHERS = [(key, None) for key in ('protocol', 'settings', 'shards', 'failed')]


@pytest.mark.parametrize(
    'key, value',
    [*HEADERS.items(), *OTHERS, ('classes', 'abc'), ('settings', dict(sample_rate=0)),
     ('shards', ['s.tar']), ('failed', [{}]), ('missing', -1)],
)  # fmt: skip
def test_a_header_of_other_kinds(tmp_path, key, value):
    with pytest.raises(ManifestError, match='index.jsonl:1: '):
        read_index(str(write_index(tmp_path, header={key: value})))


SAMPLES = dict(shard=99, key=5, offset=-5, size=10**12, crc32='x', audio_samples=0.5,
               frame_times=['a'], row=5, sample_id='b', captions=['x'])  # fmt: skip


@pytest.mark.parametrize(
    'key, value',
    [
        *SAMPLES.items(),
        ('shard', '0'),
        ('key', None),
        ('frame_times', 3),
        ('shard', True),
        ('audio_samples', 10**400),
    ],
)
def test_a_sample_of_other_kinds(tmp_path, key, value):
    with pytest.raises(ManifestError, match='index.jsonl:2: '):
        read_index(str(write_index(tmp_path, sample={key: value})))


def test_a_good_one_is_read(tmp_path):
    header, (row,) = read_index(str(write_index(tmp_path)))
    assert header['shards'][0]['name'] == 's.tar'
    assert (row['sample_id'], row['shard'], row['size']) == ('a', 0, 1024)


@pytest.mark.parametrize('content', ['[' * 100_000, '\xff', '5', '[]', 'null'])
def test_what_is_no_index(tmp_path, content):
    path = tmp_path / INDEX_NAME
    path.write_bytes(content.encode('latin-1'))
    with pytest.raises(ManifestError, match='index.jsonl:'):
        read_index(str(path))


def test_a_byte_order_mark_and_other_encodings(tmp_path):
    path = write_index(tmp_path)
    text = path.read_text('utf-8')
    path.write_text(text, encoding='utf-8-sig')
    assert read_index(str(path))[1][0]['sample_id'] == 'a'
    header = text.splitlines()[0]
    for content, number in (
        (text.encode('utf-16'), 1),
        (f'{header}\n{{"key": "\xe9"}}\n'.encode('latin-1'), 2),
        (f'{header}\n'.encode() + b'[' * 200_000, 2),
    ):
        path.write_bytes(content)
        with pytest.raises(ManifestError, match=f'index.jsonl:{number}: ') as caught:
            read_index(str(path))
        assert '\n' not in str(caught.value)
