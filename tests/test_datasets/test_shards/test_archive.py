import tarfile

import cv2
import numpy as np
import pytest
from pictures import natural_picture
from sklearn.datasets import load_sample_image

from coavt_mm.datasets.resizing import fitted_size
from coavt_mm.datasets.shards.archive import (
    END_OF_TAR,
    decode_jpeg,
    encode_jpeg,
    pack_piece,
    shrink,
    unpack_piece,
)
from coavt_mm.datasets.transforms.resize import CenterCrop, Resize
from coavt_mm.errors import ClipError
from coavt_mm.preparation.shards import Settings


@pytest.mark.parametrize(
    'size, expected', [((48, 64), (24, 32)), ((65, 37), (42, 24)), ((9, 99), (9, 99))]
)
def test_shrink_keeps_the_shape_and_never_enlarges(size, expected):
    assert shrink(np.zeros((*size, 3), np.uint8), 24).shape == (*expected, 3)


@pytest.mark.parametrize('short_side', [224, 240, 256, 320])
def test_what_was_shrunk_is_scaled_on_to_the_size_of_the_original(short_side):
    rng = np.random.default_rng(0)
    drawn = rng.integers(321, 900, (40, 2)).tolist()
    for height, width in [(720, 408), (477, 720), (534, 1280), *drawn]:
        shrunk = shrink(np.zeros((height, width, 3), np.uint8), short_side)
        assert min(shrunk.shape[:2]) == short_side
        there = fitted_size(*shrunk.shape[:2], 224)
        assert there == fitted_size(height, width, 224)


@pytest.mark.parametrize('name', ['china.jpg', 'flower.jpg', None])
@pytest.mark.parametrize('turned', [False, True])
def test_through_a_shard_a_picture_stays_within_two_levels(name, turned):
    image = load_sample_image(name) if name else natural_picture(720, 1280)
    image = np.ascontiguousarray(image.transpose(1, 0, 2)) if turned else image
    made = Settings()
    assert made.quality == 90
    kept = decode_jpeg(encode_jpeg(shrink(image, made.short_side), made.quality))
    seen = [
        CenterCrop(224).transform(Resize((-1, 224)).transform(dict(imgs=[picture])))
        for picture in (image, kept)
    ]
    one, other = (found['imgs'][0].astype(int) for found in seen)
    assert np.abs(one - other).mean() < 2


def test_jpeg_keeps_the_colours_in_place():
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, :24] = (200, 30, 30)
    image[:, 24:] = (30, 30, 200)
    found = decode_jpeg(encode_jpeg(image, 95)).astype(int)
    assert np.abs(found - image)[:, 2:20].max() <= 6
    assert np.abs(found - image)[:, 28:].max() <= 6


def encoded(kind, shape=(16, 16, 3)):
    return cv2.imencode(kind, np.zeros(shape, np.uint8))[1].tobytes()


def claiming(width, height):
    """A small JPEG whose head claims another size."""
    content = encoded('.jpg')
    place = content.index(b'\xff\xc0') + 5
    size = height.to_bytes(2, 'big') + width.to_bytes(2, 'big')
    return content[:place] + size + content[place + 4 :]


@pytest.mark.parametrize(
    'content',
    [b'no picture at all', b'', encoded('.png'), encoded('.jpg')[:40],
     claiming(60_000, 60_000), claiming(9000, 9000), claiming(0, 5)],
    ids=['text', 'empty', 'png', 'cut', 'huge', 'large', 'no width'],
)  # fmt: skip
def test_a_broken_jpeg_is_named(content):
    with pytest.raises(ClipError, match='JPEG'):
        decode_jpeg(content)


def test_pieces_are_a_tar_file_together_and_alone(tmp_path):
    content = [{'00.jpg': b'a' * 700, 'json': b'{}'}, {'flac': b'', 'json': b'{"b":1}'}]
    pieces = [pack_piece(f'{i:08d}', members) for i, members in enumerate(content)]
    assert [unpack_piece(piece) for piece in pieces] == content
    path = tmp_path / 'x.tar'
    path.write_bytes(b''.join(pieces) + END_OF_TAR)
    with tarfile.open(path) as tar:
        assert len(tar.getnames()) == 4
    webdataset = pytest.importorskip('webdataset')
    found = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [sample['__key__'] for sample in found] == ['00000000', '00000001']
    assert found[0]['00.jpg'] == b'a' * 700 and found[1]['json'] == b'{"b":1}'


def test_what_is_no_piece_does_not_unpack():
    with pytest.raises(tarfile.TarError):
        unpack_piece(pack_piece('k', {'json': b'x' * 900})[100:])


def member(name='k.json', size=0, **kind):
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in kind.items():
        setattr(info, key, value)
    return info


def sparse(size):
    """A GNU sparse member of 512 bytes that claims any size."""
    block = bytearray(member(type=tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b'%011o\0' % size
    block[148:156] = b'%06o\0 ' % (sum(block[:148]) + 8 * 32 + sum(block[156:512]))
    return bytes(block)


PAX = dict(pax_headers={'GNU.sparse.realsize': '8000000000', 'GNU.sparse.map': '0,1'})


@pytest.mark.parametrize(
    'piece',
    [
        member(type=tarfile.SYMTYPE, linkname='/etc/passwd').tobuf(),
        member(type=tarfile.LNKTYPE, linkname='k.jpg').tobuf(),
        member(type=tarfile.DIRTYPE).tobuf(),
        member(type=tarfile.FIFOTYPE).tobuf(),
        member(type=tarfile.CHRTYPE).tobuf(),
        member(size=10 * 2**30).tobuf(tarfile.GNU_FORMAT),
        sparse(3 * 2**30),
        member(**PAX).tobuf(tarfile.PAX_FORMAT),
    ],
    ids=['link', 'hard link', 'folder', 'fifo', 'device', 'large', 'sparse', 'pax'],
)
def test_members_that_are_no_plain_files(piece):
    with pytest.raises(tarfile.TarError):
        unpack_piece(piece)


@pytest.mark.parametrize('size', [-1, -512, -(2**40)])
def test_a_member_of_a_size_below_zero(size):
    piece = member(size=size).tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    with pytest.raises((tarfile.TarError, ValueError)):
        unpack_piece(piece)


def test_a_member_without_a_dot():
    assert unpack_piece(member('k').tobuf()) == {'': b''}


def test_pieces_do_not_depend_on_the_clock():
    assert pack_piece('k', {'json': b'x'}) == pack_piece('k', {'json': b'x'})
