"""Splits of own clips: nothing on two sides."""

import random
import re
from hashlib import sha256

import pytest

from coavt_mm.errors import ConfigError, ManifestError
from coavt_mm.finetuning.splitting import (
    check_splits,
    groups_of,
    keys_of,
    split_rows,
)


def _rows(folder, number, caption='clip {}'):
    rows = []
    for i in range(number):
        (folder / f'{i}.mp4').write_bytes(f'content {i:04d}'.encode())
        rows.append(dict(id=f'{i}', clip=f'{i}.mp4', captions=[caption.format(i)]))
    return rows


def _split(rows, folder, captions=True, **options):
    return split_rows(rows, keys_of(rows, folder, captions), **options)


def _ids(splits):
    return {name: [row['id'] for row in rows] for name, rows in splits.items()}


def test_shares_and_the_same_draw_in_any_order(tmp_path):
    rows = _rows(tmp_path, 100)
    splits = _split(rows, tmp_path)
    assert {n: len(own) for n, own in splits.items()} == dict(train=70, val=10, test=20)
    random.Random(1).shuffle(rows)
    again = _split(rows, tmp_path)
    assert all(sorted(_ids(again)[n]) == sorted(_ids(splits)[n]) for n in splits)


@pytest.mark.parametrize('written', ['/my/clips/{}', 'clips/{}', 'clips\\{}', 'ö/{}'])
@pytest.mark.parametrize('inside', ['{}', '{}/video.mp4', 'same/{}'])
def test_however_the_paths_are_written(tmp_path, written, inside):
    rows = _rows(tmp_path, 60)
    for row in rows:
        row['id'] = inside.format(row['id'])
    splits = _ids(_split(rows, tmp_path))
    for row in rows:
        row['id'] = written.format(row['id'])
    others = _ids(_split(rows, tmp_path))
    assert others == {n: [written.format(x) for x in own] for n, own in splits.items()}
    numbers = [int(re.search(r'\d+', name)[0]) for name in splits['test']]
    assert max(numbers) - min(numbers) > 30  # not those that come first


def test_bare_names_are_drawn_as_ever(tmp_path):
    splits = _ids(_split(_rows(tmp_path, 30), tmp_path))
    order = sorted(map(str, range(30)), key=lambda x: sha256(x.encode()).hexdigest())
    assert {*splits['test']} == {*order[:6]} and {*splits['val']} == {*order[6:9]}


@pytest.mark.parametrize(('number', 'sizes'), [(20, (12, 3, 5)), (50, (35, 5, 10))])
def test_few_clips(tmp_path, number, sizes):
    splits = _split(_rows(tmp_path, number), tmp_path)
    assert tuple(map(len, splits.values())) == sizes


def test_files_bytes_recordings_and_captions_stay_together(tmp_path):
    rows = _rows(tmp_path, 40)
    rows += [dict(row, id=f'{row["id"]}_later', start=5.0, captions=[f'later {i}'])
             for i, row in enumerate(rows[:5])]  # fmt: skip
    (tmp_path / 'copy.mp4').write_bytes((tmp_path / '7.mp4').read_bytes())
    rows.append(dict(id='copy', clip='copy.mp4', captions=['a copy']))
    rows[10]['captions'] = ['The  Dog barks.']
    rows[11]['captions'] = ['the dog barks']
    cut_from = {'20': 'tape', '21': 'tape', '22': 'tape', '23': ''}
    keys = keys_of(rows, tmp_path, True, cut_from)
    groups = [{rows[i]['id'] for i in group} for group in groups_of(keys)]
    for together in ({'0', '0_later'}, {'7', 'copy'}, {'10', '11'}, {'20', '21', '22'}):
        assert together in groups
    side = {
        row['id']: name for name, own in split_rows(rows, keys).items() for row in own
    }
    assert len(side) == len(rows)
    for group in groups_of(keys):
        assert len({side[rows[i]['id']] for i in group}) == 1


def test_a_chain_of_common_keys_is_one_group():
    assert groups_of([{'a'}, {'b'}, {'a', 'b'}, {'c'}]) == [[0, 1, 2], [3]]


def test_captions_that_many_share_are_no_captions(tmp_path):
    rows = _rows(tmp_path, 60, caption='a dog')
    with pytest.raises(ConfigError, match=r'60 clips are 1 groups .* --labels'):
        _split(rows, tmp_path)


def test_five_recordings_are_enough(tmp_path):
    rows = _rows(tmp_path, 60)
    recordings = {row['id']: f'tape {int(row["id"]) // 12}' for row in rows}
    splits = split_rows(rows, keys_of(rows, tmp_path, True, recordings))
    sizes = {n: len(own) for n, own in splits.items()}
    assert sizes == dict(train=36, val=12, test=12)


def test_a_split_has_more_than_one_caption(tmp_path):
    rows = _rows(tmp_path, 60)
    for i, row in enumerate(rows):
        row['captions'] = [f'one of {i % 6}']
    with pytest.raises(ConfigError, match=r'60 clips are 6 groups .* --labels'):
        _split(rows, tmp_path)


def test_every_split_has_every_label_that_has_the_clips(tmp_path):
    rows = _rows(tmp_path, 43)
    for i, row in enumerate(rows):
        row['labels'] = ['rare' if i < 3 else 'dog' if i % 2 else 'cat']
    splits = _split(rows, tmp_path, captions=False, labels=True)
    assert all(
        {row['labels'][0] for row in own} == {'rare', 'dog', 'cat'}
        for own in splits.values()
    )
    rows[1]['labels'] = rows[2]['labels'] = ['dog']  # one 'rare' is left: it trains
    splits = _split(rows, tmp_path, captions=False, labels=True)
    assert 'rare' in {row['labels'][0] for row in splits['train']}


def test_only_what_a_list_lacks_is_drawn(tmp_path):
    splits = _split(_rows(tmp_path, 30), tmp_path, wanted=['val'])
    assert {n: len(own) for n, own in splits.items()} == dict(train=27, val=3)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(clip='0.mp4'), 'the first is file .*0.mp4: train .0. and test .9'),
        (dict(captions=['CLIP 0']), 'the first is caption "clip 0"'),
    ],
)
def test_leaks_of_a_list_are_refused(tmp_path, change, message):
    rows = _rows(tmp_path, 10)
    rows[9].update(change)
    keys = keys_of(rows, tmp_path, True)
    sides, of = (dict(train=x[:8], test=x[8:]) for x in (rows, keys))
    with pytest.raises(ManifestError, match=message):
        check_splits(sides, of)
    rows[9].update(clip='9.mp4', captions=['clip 9'])
    check_splits(sides, dict(train=keys[:8], test=keys_of(rows[8:], tmp_path, True)))
