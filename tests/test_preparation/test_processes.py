import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
import tasks

from coavt_mm.preparation import processes
from coavt_mm.preparation.processes import Died, run_each, safe_context


def results(given, workers):
    return dict(run_each(tasks.work, {f'key {t}': t for t in given}, workers))


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


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize('start', ['fork', 'forkserver'])
def test_all_may_kill_and_at_once(start, monkeypatch):
    """One dies while another one starts: Python's own pool waits for ever then."""
    context = multiprocessing.get_context(start)
    monkeypatch.setattr(processes, 'safe_context', lambda: context)
    signals = [-signal.SIGKILL, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGTERM]
    found = results(signals, 3)
    assert found == {f'key {number}': Died(number) for number in signals}


def test_what_dies_between_its_tasks_costs_none():
    steps = run_each(tasks.die_idle, dict(a=1, b=2, c=3), 1)
    found = dict([next(steps)])
    time.sleep(0.5)  # s; it is dead, and the next task on its way
    assert dict([*found.items(), *steps]) == dict(a=1, b=2, c=3)


@pytest.mark.timeout(60)
@pytest.mark.parametrize('workers', [1, 2])
def test_large_tasks_and_answers_do_not_wait_for_each_other(workers):
    """Larger than what fits between two processes."""
    given = {i: bytes([i]) * 3_000_000 for i in range(12)}
    assert dict(run_each(tasks.echo, given, workers)) == given


def test_an_answer_that_can_not_be_sent_is_no_death():
    with pytest.raises(TypeError, match='pickle'):
        dict(run_each(tasks.unpicklable, dict(a=1), 1))


def test_an_error_tells_where_it_came_from():
    with pytest.raises(ValueError, match='hundred') as caught:
        results([100], 1)
    assert "raise ValueError('hundred')" in str(caught.value.__cause__)


@pytest.mark.parametrize('tasks', [[1, 100], [-signal.SIGSEGV, 100]])
def test_an_error_is_raised_here(tasks):
    with pytest.raises(ValueError, match='hundred'):
        results(tasks, 1)


def test_it_can_be_left_before_its_end(tmp_path):
    steps = run_each(tasks.touch, {i: tmp_path / str(i) for i in range(1000)}, 2)
    next(steps)
    steps.close()
    assert len(list(tmp_path.iterdir())) < 100


LEFT = """
from pathlib import Path
import tasks
from coavt_mm.preparation.processes import run_each
if __name__ == '__main__':
    paths = {{number: Path(r'{folder}') / str(number) for number in range(2)}}
    dict(run_each(tasks.wait, paths, 2))
"""


def wait_until(what, seconds):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize('number, seconds', [(signal.SIGINT, 5), (signal.SIGKILL, 20)])
def test_leaving_ends_what_is_under_way(number, seconds, tmp_path):
    """Ctrl-C does not wait for tasks of 10 s; a parent that is killed leaves none."""
    script = tmp_path / 'script.py'
    script.write_text(LEFT.format(folder=tmp_path))
    paths = os.pathsep.join(path for path in sys.path if path)
    parent = subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, 'PYTHONPATH': paths},
        stderr=subprocess.PIPE,
        text=True,
    )
    told = [tmp_path / str(worker) for worker in range(2)]
    wait_until(lambda: all(path.exists() and path.read_text() for path in told), 60)
    parent.send_signal(number)
    workers = [int(path.read_text()) for path in told]
    wait_until(
        lambda: not any(psutil.pid_exists(worker) for worker in workers), seconds
    )
    _, said = parent.communicate()
    assert said.count('Traceback') == (number == signal.SIGINT)


@pytest.mark.parametrize('count', [1, 2])
def test_a_fork_is_quick_and_used_where_it_is_safe(count, monkeypatch):
    monkeypatch.setattr('threading.active_count', lambda: count)
    wanted = 'fork' if count == 1 and sys.platform == 'linux' else 'forkserver'
    assert safe_context().get_start_method() == wanted


def test_a_process_full_of_threads_is_not_forked(monkeypatch):
    """A fork would copy the lock, with nobody left to free it."""
    lock, free = threading.Lock(), threading.Event()

    def hold():
        with lock:
            free.wait()

    monkeypatch.setattr(tasks, 'HELD', lock)
    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert dict(run_each(tasks.is_held, dict(a=1), 1)) == dict(a=False)
    finally:
        free.set()
        thread.join()


UNGUARDED = """
import threading
from operator import neg
from coavt_mm.preparation.processes import run_each
threading.Thread(target=threading.Event().wait, daemon=True).start()
{guard}
    print(sorted(run_each(neg, dict(a=1, b=2), 1)))
"""


@pytest.mark.slow
@pytest.mark.parametrize('guard', ["if __name__ == '__main__':", 'if True:'])
def test_a_script_with_threads(guard, tmp_path):
    """No clip is blamed for a script that runs again wherever it is imported."""
    script = tmp_path / 'script.py'
    script.write_text(UNGUARDED.format(guard=guard))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    if 'main' in guard:
        assert (done.stdout, done.returncode) == ("[('a', -1), ('b', -2)]\n", 0)
    else:
        assert (
            'ConfigError' in done.stderr
            and "`if __name__ == '__main__':`" in done.stderr
        )
        assert done.returncode == 1 and not done.stdout
