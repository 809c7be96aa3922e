import os
import signal

import pytest

from coavt_mm.preparation.processes import Died, run_each


def work(task):
    if task < 0:
        os.kill(os.getpid(), -task)
    if task == 100:
        raise ValueError('hundred')
    return 2 * task


def results(tasks, workers):
    return dict(run_each(work, {f'key {t}': t for t in tasks}, workers))


@pytest.mark.parametrize('workers', [0, 1, 3])
def test_every_task_gives_its_result(workers):
    expected = {f'key {t}': 2 * t for t in range(50)}
    assert results(range(50), workers) == expected
    assert results([], workers) == {}


@pytest.mark.slow
@pytest.mark.parametrize('workers', [1, 2])
@pytest.mark.parametrize('place', [0, 7, 20])
def test_a_task_that_kills_its_process_costs_itself_alone(workers, place):
    tasks = [*range(1, 21)]
    tasks[place:place] = [-signal.SIGSEGV]
    found = results(tasks, workers)
    assert found.pop(f'key {-signal.SIGSEGV}') == Died(-signal.SIGSEGV)
    assert found == {f'key {t}': 2 * t for t in range(1, 21)}


def test_several_that_kill_and_how_they_are_named():
    found = results([-signal.SIGKILL, 1, -signal.SIGABRT, 2, -signal.SIGSEGV], 2)
    assert {str(x) for x in found.values() if isinstance(x, Died)} == {
        'SIGKILL, out of memory?', 'SIGABRT', 'SIGSEGV'
    }  # fmt: skip
    assert (found['key 1'], found['key 2']) == (2, 4)
    assert [str(Died(x)) for x in (3, -50)] == ['exit status 3', 'signal 50']


@pytest.mark.parametrize('tasks', [[1, 100], [-signal.SIGSEGV, 100]])
def test_an_error_is_raised_here(tasks):
    with pytest.raises(ValueError, match='hundred'):
        results(tasks, 1)


def test_it_can_be_left_before_its_end(tmp_path):
    steps = run_each(touch, {i: tmp_path / str(i) for i in range(1000)}, 2)
    next(steps)
    steps.close()
    assert len(list(tmp_path.iterdir())) < 100


def touch(path):
    path.touch()
