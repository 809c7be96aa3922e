"""``coavt search``: what is shown, and what is said of mistakes."""

import json
import shutil
import sqlite3

import pytest

from coavt_mm.cli.main import main
from coavt_mm.cli.search import _labels
from coavt_mm.cli.search_screen import clock, hit_lines
from coavt_mm.errors import InputError

pytest.importorskip('faiss', reason='the extra search (faiss-cpu) is not installed')


def run(*words):
    main(['search', *map(str, words)])


@pytest.fixture
def made(tmp_path, checkpoint, make_clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'clips').mkdir()
    shutil.copy(make_clip(seconds=0.5), 'clips/a.mp4')
    shutil.copy(make_clip(seconds=1.5), 'clips/b\x1b[31m.mp4')
    run('index', 'clips', '--out', 'index', '--checkpoint', checkpoint)
    return tmp_path


def error_of(capsys, *words):
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    return line


def test_index_query_and_info(made, capsys):
    run('query', 'index', 'the dog', '--moments')
    printed = capsys.readouterr().out
    assert printed.startswith('the dog\n')
    assert '1.' in printed and '|' in printed
    assert '\x1b' not in printed
    run('query', 'index', '--clip', 'clips/a.mp4', '--topk', 1, '--json')
    (hit,) = json.loads(capsys.readouterr().out)['hits']
    assert hit['clip'].endswith('a.mp4') and hit['similarity'] > 0.99
    run('info', 'index')
    printed = capsys.readouterr().out
    assert 'clips    2' in printed and 'windows  4 of 0.5 s' in printed
    run('info', 'index', '--json')
    assert json.loads(capsys.readouterr().out)['windows'] == 4
    run('index', 'clips', '--out', 'index')  # goes on, with the model that it knows
    assert '2 unchanged' in capsys.readouterr().out
    run('remove', 'index', 'clips/a.mp4')
    run('compact', 'index')
    run('query', 'index', 'the dog', '--longer', 9)
    told = capsys.readouterr()
    assert 'nothing found' in told.out and 'no clip passes folder' in told.err


def test_mistakes_are_one_line(made, capsys, checkpoint):
    assert 'is no search index' in error_of(capsys, 'query', 'clips', 'dog')
    assert 'is no clip of this index' in error_of(capsys, 'remove', 'index', 'nothing')
    assert 'say what to look for' in error_of(capsys, 'query', 'index')
    assert "'soon' is no date" in error_of(
        capsys, 'query', 'index', 'dog', '--after', 'soon'
    )
    assert 'no such folder' in error_of(capsys, 'add', 'index', 'nowhere')
    assert 'which model?' in error_of(capsys, 'index', 'clips', '--out', 'new')
    assert 'store must be' in error_of(
        capsys, 'index', 'clips', '--out', 'new', '--checkpoint', checkpoint,
        '--store', 'redis://x',
    )  # fmt: skip
    assert 'overlap must be' in error_of(
        capsys, 'index', 'clips', '--out', 'new', '--checkpoint', checkpoint,
        '--overlap', 1,
    )  # fmt: skip
    assert not (made / 'new').exists()


def test_an_index_of_somebody_else(made, capsys, monkeypatch):
    """It names a server of theirs, and a file of the reader's to write to."""
    monkeypatch.setenv('XDG_CONFIG_HOME', str(made / 'config'))
    with sqlite3.connect(made / 'index' / 'catalogue.sqlite') as db:
        (text,) = db.execute(
            "SELECT value FROM about WHERE key = 'settings'"
        ).fetchone()
        evil = text.replace('"embedded"', '"http://127.0.0.1:9"')
        db.execute("UPDATE about SET value = ? WHERE key = 'settings'", (evil,))
    for command in (['info', 'index'], ['query', 'index', 'dog'], ['add', 'index']):
        assert 'would ask http://127.0.0.1:9' in error_of(capsys, *command)
    with sqlite3.connect(made / 'index' / 'catalogue.sqlite') as db:
        db.execute('DROP TABLE about')
        db.execute("CREATE VIEW about AS SELECT 'format' AS key, '1' AS value")
    assert "has 'about', which no index has" in error_of(capsys, 'info', 'index')
    (made / 'precious').write_text('precious')
    (made / 'index' / 'lock').unlink(missing_ok=True)
    (made / 'index' / 'lock').symlink_to(made / 'precious')
    assert 'lock is no file' in error_of(capsys, 'add', 'index')
    assert (made / 'precious').read_text() == 'precious'


def test_an_index_in_which_nothing_can_be_found(tmp_path, checkpoint, capsys):
    (tmp_path / 'clips').mkdir()
    (tmp_path / 'clips' / 'a.mp4').write_text('no film')
    index = tmp_path / 'index'
    line = error_of(
        capsys, 'index', tmp_path / 'clips', '--out', index, '--checkpoint', checkpoint
    )
    assert 'none of its 1 clips could be read' in line
    assert 'none of its 1 clips' in error_of(capsys, 'query', index, 'dog')
    run('remove', index, tmp_path / 'clips')
    assert 'no clip is in it' in error_of(capsys, 'query', index, 'dog', '--json')


def test_times_and_tables():
    assert [clock(s) for s in (0, 59.96, 61.25, 3723.4)] == [
        '0:00.0', '1:00.0', '1:01.2', '1:02:03.4'
    ]  # fmt: skip
    hit = dict(rank=1, similarity=0.5, stream='A', start=0.0, end=None, clip='a')
    line = [[0.0, 0.1], [1.0, 0.9], [2.0, 0.1]]
    lines = list(hit_lines(dict(query='x', hits=[dict(hit, line=line)])))
    assert lines[1].split() == ['1.', '0.500', 'A', '0:00.0-', 'a']
    assert lines[2].strip() == '0:00.0 | █ | 0:02.0'


def test_a_table_of_labels_that_has_none(tmp_path):
    table = tmp_path / 'mine.csv'
    table.write_text('clip,caption\na.mp4,a dog barks\n')
    with pytest.raises(InputError, match='no row has a label; its column is "label"'):
        _labels(str(table))
    table.write_text('clip,label\na.mp4,dog\nb.mp4,\n')
    assert _labels(str(table)) == {'a.mp4': ['dog'], 'b.mp4': []}
