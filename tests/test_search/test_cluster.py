"""An index that a cluster embeds is the one that is embedded here."""

import sys

import numpy as np
import pytest
from ray_tasks import StandIn, start

from coavt_mm.errors import ConfigError, SearchError
from coavt_mm.search import Index, OnRay, cluster
from coavt_mm.search.cluster import shares
from coavt_mm.search.reading import embedded
from coavt_mm.search.scanning import sources


def node(alive=True, **resources):
    return dict(Alive=alive, Resources=resources)


@pytest.mark.parametrize(
    ('nodes', 'device', 'expected'),
    [
        ([node(CPU=8.0)], None, (2, dict(num_cpus=4))),
        ([node(), node(CPU=2.0), node(CPU=3.0)], 'cpu', (1, dict(num_cpus=3))),
        ([node(CPU=9.0), node(alive=False, CPU=64.0)], None, (2, dict(num_cpus=4))),
        ([node(CPU=8.0, GPU=4.0), node(CPU=64.0)], None,
         (4, dict(num_gpus=1, num_cpus=2))),
        ([node(CPU=64.0, GPU=1.0), node(CPU=1.0, GPU=2.0)], 'cuda:1',
         (3, dict(num_gpus=1, num_cpus=0))),
        ([node(CPU=8.0, GPU=4.0)], 'cpu', (2, dict(num_cpus=4))),
    ],
)  # fmt: skip
def test_a_process_for_each_gpu_or_so_many_cores(nodes, device, expected):
    assert shares(nodes, 4, device) == expected


@pytest.mark.parametrize(('nodes', 'device'), [([node(CPU=4.0)], 'cuda'), ([], None)])
def test_a_cluster_that_has_nothing_to_embed_with(nodes, device):
    with pytest.raises(ConfigError, match=f'no {device or "cpu"} to embed with'):
        shares(nodes, 4, device)


@pytest.fixture
def ray(monkeypatch):
    """A stand-in with room for two processes."""
    stand_in = StandIn(cores=2)
    monkeypatch.setitem(sys.modules, 'ray', stand_in)
    return stand_in


def check(coavt, checkpoint, folder, batch_size=2):
    """Compare what is embedded there with what is embedded here."""
    clips = sources(folder, {})
    given = (coavt, clips, batch_size, 1, None)
    here = {x.source.path: x for x in embedded(*given)}
    there = {x.source.path: x for x in OnRay('local', str(checkpoint))(*given)}
    assert here.keys() == there.keys() and len(here) == 6
    for path, one in here.items():
        other = there[path]
        assert (one.hash, one.seconds) == (other.hash, other.seconds)
        assert one.answer.get('error') == other.answer.get('error')
        for a, b in zip(one.answer['windows'], other.answer['windows'], strict=True):
            assert (a['start'], a['end']) == (b['start'], b['end'])
            for stream in ('AV', 'A', 'V'):
                pair = a['embeddings'][stream], b['embeddings'][stream]
                np.testing.assert_allclose(*pair, atol=1e-6)


@pytest.fixture
def folder(folder):
    """With a clip that can't be read."""
    (folder / 'broken.mp4').write_text('no film at all')
    return folder


def test_vectors_are_the_same_also_where_processes_are_lost(
    ray, coavt, checkpoint, folder
):
    ray.lost = [(0, 'embed'), (1, 'load')]
    check(coavt, checkpoint, folder, batch_size=1)
    assert (ray.inits, ray.ended) == (['local'], 1)
    assert ray.asked == [dict(max_concurrency=2, num_cpus=1)]


def test_processes_that_die_again_and_again(ray, coavt, checkpoint, folder):
    ray.lost = [(number, 'embed') for number in range(9)]
    on_ray = OnRay('local', str(checkpoint))
    with pytest.raises(SearchError, match='3 processes .* the same command goes on'):
        list(on_ray(coavt, sources(folder, {}), 2, 1, None))
    ray.lost = [(number, 'load') for number in range(9)]
    with pytest.raises(SearchError, match='3 processes'):
        list(on_ray(coavt, sources(folder, {}), 2, 1, None))


def test_an_index_goes_on_where_it_was(ray, coavt, checkpoint, folder, tmp_path):
    on_ray = OnRay('local', str(checkpoint))

    class Stopped(Exception):
        pass

    def stop(answer):
        raise Stopped

    with Index.create(tmp_path / 'new', coavt, checkpoint) as index:
        with pytest.raises(Stopped):
            index.add(coavt, [folder], batch_size=2, on_clip=stop, embed=on_ray)
        assert ray.ended == 1
        before = index.info()['clips'] + index.info()['failed']
        report = index.add(coavt, [folder], batch_size=2, embed=on_ray)
        assert 1 <= before <= 2
        assert report.unchanged + report.new + report.failed == 6
        assert index.info()['windows'] == 7
        assert index.add(coavt, [folder], embed=on_ray).unchanged == 6
        assert len(index.query(coavt, 'the dog barks')['hits']) == 5


def test_another_model_on_another_machine(ray, coavt, checkpoint, folder, monkeypatch):
    hashes = iter(['one', 'another'])
    monkeypatch.setattr(cluster, 'model_hash', lambda model: next(hashes))
    with pytest.raises(SearchError, match='is another model on '):
        list(OnRay('x', str(checkpoint))(coavt, sources(folder, {}), 2, 1, None))


@pytest.mark.slow
def test_a_real_cluster_gives_the_same(coavt, checkpoint, folder):
    real = pytest.importorskip('ray', reason='the extra scale (ray) is not installed')
    start(real)
    try:
        check(coavt, checkpoint, folder)
    finally:
        real.shutdown()
