import signal
import subprocess
import sys
import threading

import pytest
import tasks

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


@pytest.mark.parametrize('tasks', [[1, 100], [-signal.SIGSEGV, 100]])
def test_an_error_is_raised_here(tasks):
    with pytest.raises(ValueError, match='hundred'):
        results(tasks, 1)


def test_it_can_be_left_before_its_end(tmp_path):
    steps = run_each(tasks.touch, {i: tmp_path / str(i) for i in range(1000)}, 2)
    next(steps)
    steps.close()
    assert len(list(tmp_path.iterdir())) < 100


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
