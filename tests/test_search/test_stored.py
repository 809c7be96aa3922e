"""An index may be from somebody else: what it notes is data, and checked."""

import json
import os

import pytest

from coavt_mm.errors import SearchError
from coavt_mm.search.stored import (
    check_files,
    check_store,
    making_sense,
    read_about,
    remember_store,
)

SETTINGS = dict(
    model='ab12', checkpoint='/x/y.pth', width=8, seconds=0.5, hop=0.5,
    store='embedded', name='20892c48',
)  # fmt: skip


def noted(generation='0', shapes='{"AV": [1, 3]}', **settings):
    text = json.dumps(SETTINGS | settings)
    return dict(settings=text, shapes=shapes, generation=generation)


def test_what_an_index_writes_is_read(tmp_path):
    about = read_about(noted(), tmp_path)
    assert about.settings == SETTINGS and about.generation == 0
    assert about.shapes == {'AV': (1, 3)}


WRONG = [
    *(dict(store=x) for x in (5, None, [], 'a\0')),
    *(dict(checkpoint=x) for x in ('http://127.0.0.1/x.pth', '../x.pth', None)),
    *(dict(width=x) for x in ('x', 0, -1, 10**12, None, True, 1.5)),
    *(dict(hop=x) for x in ('x', 0, -1, None, float('nan'), 1e300)),
    *(dict(seconds=x) for x in ('x', 0, float('inf'))),
    *(dict(name=x) for x in ('../../x', 'a"; DROP TABLE x;--', '', 5)),
    *(dict(generation=x) for x in ('../x', '-5', 'x', '9' * 5000, None)),
    *(
        dict(shapes=x)
        for x in ('x', '[]', '5', '{"AV": 5}', '{"AV": [0, 0]}', '{"../x": [1, 3]}',
                  '{"AV": [100000, 100000]}', '{"AV": [1]}', '[' * 100_000, None)
    ),
]  # fmt: skip


@pytest.mark.parametrize('wrong', WRONG, ids=lambda x: repr(x)[:40])
def test_what_makes_no_sense_is_one_line(tmp_path, wrong):
    with pytest.raises(SearchError, match='the index is damaged') as caught:
        read_about(noted(**wrong), tmp_path)
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize('missing', ['settings', 'shapes', 'generation'])
def test_what_is_missing_is_named(tmp_path, missing):
    about = noted()
    del about[missing]
    with pytest.raises(SearchError, match=f"no '{missing}'"):
        read_about(about, tmp_path)


@pytest.mark.parametrize('kind', ['link', 'pipe', 'folder'])
def test_an_index_has_files_alone(tmp_path, kind):
    (tmp_path / 'lock').touch()
    check_files(tmp_path)
    place = tmp_path / 'A.0.vectors'
    make = dict(link=lambda: place.symlink_to('/etc/passwd'), folder=place.mkdir)
    make.get(kind, lambda: os.mkfifo(place))()
    with pytest.raises(SearchError, match='A.0.vectors is no file of its own'):
        check_files(tmp_path)


def test_only_stores_that_their_user_has_named_are_asked(tmp_path):
    check_store('embedded', tmp_path)
    for address in ('http://127.0.0.1:9', 'postgresql://127.0.0.1/x', '/x/y.db'):
        with pytest.raises(SearchError, match='with which no index was made here'):
            check_store(address, tmp_path)
        remember_store(address)
        check_store(address, tmp_path)
    assert os.listdir(tmp_path / 'config' / 'coavt_mm') == ['stores.json']


def test_wrong_numbers_are_said_in_a_line(tmp_path):
    wanted = pytest.raises(SearchError, match='TypeError: no number')
    with wanted, making_sense(tmp_path):
        raise TypeError('no\nnumber')
    with pytest.raises(SearchError, match='^own$'), making_sense(tmp_path):
        raise SearchError('own')
