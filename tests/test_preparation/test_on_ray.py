import os
import signal
import sys

import av
import pytest
from ray_tasks import StandIn, fill, lose_once, nobody_listens, start
from tasks import work

from coavt_mm.cli.main import main
from coavt_mm.errors import ConfigError
from coavt_mm.preparation import on_ray
from coavt_mm.preparation.on_ray import joined, run_on_ray, some_files
from coavt_mm.preparation.processes import Died
from coavt_mm.preparation.shards import Settings, make_shards

SMALL = Settings(num_frames=2, short_side=24, seconds=0.5)


@pytest.fixture
def ray(monkeypatch):
    """A stand-in, that works in this process."""
    av.logging.set_level(None)  # old torchvision turns it on; errors get longer by it
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, 'ray', stand_in)
    return stand_in


@pytest.fixture(scope='module')
def cluster():
    """A real one of this machine."""
    ray = pytest.importorskip('ray', reason='the extra scale (ray) is not installed')
    start(ray)
    yield ray
    ray.shutdown()


def results(tasks, **options):
    tasks = {f'key {task}': task for task in tasks}
    return dict(run_on_ray(work, tasks, 'local', **options))


def test_every_task_gives_its_result(ray):
    assert results(range(50)) == {f'key {t}': 2 * t for t in range(50)}
    assert results([]) == {}
    assert (ray.inits, ray.ended) == (['local'], 1)  # nothing to do: nobody is asked


def test_an_error_is_raised_here(ray):
    with pytest.raises(ValueError, match='^hundred$'):
        results([1, 100])
    assert ray.ended == 1


def test_a_machine_without_the_package(ray, monkeypatch):
    def get(call):
        told = RuntimeError('The remote function failed to import on the worker.')
        raise ray.exceptions.RayTaskError(told)

    monkeypatch.setattr(ray, 'get', get)
    with pytest.raises(ConfigError, match='cannot import coavt_mm'):
        results([1])


def test_what_was_lost_is_done_alone(ray, monkeypatch):
    forked = on_ray.run_alone  # which takes no second here
    monkeypatch.setattr(on_ray, 'run_alone', lambda *given: forked(*given[:2]))
    ray.lost = ['_bundled']
    found = results([1, -signal.SIGKILL, 2])
    assert found == {'key 1': 2, 'key 2': 4, 'key -9': Died(-signal.SIGKILL)}
    ray.lost = ['_bundled', '_alone']
    with pytest.raises(ConfigError, match='3 times over .* the same command goes on'):
        results([1])


def test_a_cluster_in_use_is_used_and_not_ended(ray):
    with joined('local'), joined('auto'):
        results([1])
        assert (ray.inits, ray.ended) == (['local'], 0)
    assert ray.ended == 1


def test_it_can_be_left_before_its_end(ray):
    steps = run_on_ray(work, dict.fromkeys(range(1000), 1), 'local')
    next(steps)
    steps.close()
    assert ray.ended == 1


def test_ray_that_is_not_installed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ConfigError, match=r'coavt-mm\[scale\]'):
        results([1])
    monkeypatch.setattr('coavt_mm.cli.commands.find_spec', lambda name: None)
    with pytest.raises(SystemExit):
        main(['search', 'index', '.', '--out', 'new', '--ray', 'auto'])
    assert '--ray needs Ray: pip install "coavt-mm[scale]"' in capsys.readouterr().err


@pytest.mark.parametrize('scheme', ['', 'ray://'])
def test_a_cluster_that_is_not_there(ray, scheme):
    address = scheme + nobody_listens()
    with pytest.raises(ConfigError, match=f'no Ray cluster at {address}: .*refused'):
        list(run_on_ray(work, dict(a=1), address))
    assert ray.inits == []


def test_a_cluster_that_ray_does_not_find(ray, monkeypatch):
    def init(address, **options):
        raise ConnectionError('Could not find any\nrunning')

    monkeypatch.setattr(ray, 'init', init)
    with pytest.raises(ConfigError, match='at auto: Could not find any running$'):
        list(run_on_ray(work, dict(a=1), 'auto'))


def test_a_machine_that_lacks_files_or_has_another_version(ray, tmp_path, monkeypatch):
    file = tmp_path / 'seen'
    with pytest.raises(ConfigError, match=f'does not see {file}; '):
        results([1], files=[str(file)])
    file.touch()
    assert results([1], files=[str(file)]) == {'key 1': 2}
    with pytest.raises(ConfigError, match=r'has coavt-mm .*, the others 0\.0; '):
        on_ray.check_machine('0.0', ())


def test_some_files_are_from_all_over_the_list(tmp_path):
    paths = [tmp_path / f'{number:03d}' for number in range(100)]
    for path in paths[:50]:
        path.touch()
    chosen = some_files(map(str, paths[::-1]))
    assert chosen == [str(path) for path in paths[0:50:7]]
    assert some_files([]) == [] and some_files([chosen[0]] * 3) == chosen[:1]


def check_shards(corpus, tmp_path):
    make_shards(corpus, tmp_path / 'ray', settings=SMALL, per_shard=6, ray_address='x')
    make_shards(corpus, tmp_path / 'here', settings=SMALL, per_shard=6)
    names = sorted(os.listdir(tmp_path / 'here'))
    assert sorted(os.listdir(tmp_path / 'ray')) == names and len(names) == 5
    for name in names:
        here, there = (tmp_path / place / name for place in ('here', 'ray'))
        assert here.read_bytes() == there.read_bytes()


def test_shards_are_the_same(corpus, tmp_path, ray):
    check_shards(corpus, tmp_path)


def test_shards_that_a_machine_does_not_see(corpus, tmp_path, ray, monkeypatch):
    exists = os.path.exists
    monkeypatch.setattr(os.path, 'exists', lambda path: '.seen-' not in str(path))
    with pytest.raises(ConfigError, match=r'does not see .*/shards/\.seen-'):
        make_shards(corpus, tmp_path / 'shards', settings=SMALL, ray_address='x')
    monkeypatch.setattr(os.path, 'exists', exists)
    assert os.listdir(tmp_path / 'shards') == []


def check_manifests(corpus, tmp_path):
    words = ['prepare', 'folder', '--clips', str(corpus.parent)]
    main([*words, '--out', str(tmp_path / 'here'), '--workers', '1'])
    main([*words, '--out', str(tmp_path / 'ray'), '--ray', 'local'])
    names = ('all.jsonl', 'all.meta.json', 'report.json', 'report.md')
    for name in names:
        here, there = (tmp_path / place / name for place in ('here', 'ray'))
        assert here.read_bytes() == there.read_bytes()


def test_manifests_are_the_same(corpus, tmp_path, ray, monkeypatch):
    monkeypatch.setattr('coavt_mm.cli.commands.find_spec', lambda name: True)
    check_manifests(corpus, tmp_path)
    assert ray.ended == 1


@pytest.mark.slow
def test_a_real_cluster_does_the_same(corpus, tmp_path, cluster):
    check_shards(corpus, tmp_path)
    check_manifests(corpus, tmp_path)


@pytest.mark.slow
def test_on_a_real_cluster_a_clip_costs_itself_and_a_worker_nothing(tmp_path, cluster):
    tasks = {task: task for task in [*range(1, 21), -signal.SIGKILL]}
    found = dict(run_on_ray(work, tasks, 'local', bundle=3))
    assert found.pop(-9) == Died(-signal.SIGKILL)
    assert found == {task: 2 * task for task in range(1, 21)}
    with pytest.raises(ValueError, match='^hundred$'):
        results([1, 100])
    with pytest.raises(ConfigError, match='does not see /nowhere'):
        results([1], files=['/nowhere'])
    marks = {name: tmp_path / name for name in 'ab'}
    found = dict(run_on_ray(lose_once, marks, 'local', bundle=1))
    assert found == dict.fromkeys('ab', 'done')
    ((_, found),) = run_on_ray(fill, {0: 5 << 30}, 'local')
    assert found == 'out of memory'
