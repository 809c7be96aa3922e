"""``coavt app``: what is said before a page is there."""

import importlib.metadata
import socket

import pytest

from coavt_mm.cli.app import AUTH, read_users
from coavt_mm.cli.main import main as coavt
from coavt_mm.errors import ConfigError


def test_users_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(AUTH, raising=False)
    assert read_users(None) == {}
    monkeypatch.setenv(AUTH, 'anna:a:b\n\nberta:ü')
    assert read_users(None) == dict(anna='a:b', berta='ü')
    file = tmp_path / 'users.txt'
    file.write_text('carl: x \n', encoding='utf-8')
    assert read_users(str(file)) == dict(carl=' x')


@pytest.mark.parametrize(('text', 'told'), [
    ('anna', ':1: write it as NAME:PASSWORD'), ('a:b\n:c', ':2: write it'),
    ('anna:', ':1: write it'), ('', 'has no line NAME:PASSWORD'),
    (b'\xff\xfe', 'can not be read'),
])  # fmt: skip
def test_a_file_without_users_is_refused(text, told, tmp_path):
    file = tmp_path / 'users.txt'
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=told):
        read_users(str(file))


def ended(*words):
    with pytest.raises(SystemExit) as error:
        coavt(['app', *words])
    return error.value.code


def test_one_line_where_gradio_is_missing(monkeypatch, capsys, tmp_path):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr('coavt_mm.app.serving.version', missing)
    assert ended(str(tmp_path)) == 1
    told = capsys.readouterr().err
    assert "pip install 'coavt-mm[app]'" in told and told.count('\n') == 1
    monkeypatch.setattr('coavt_mm.app.serving.version', lambda name: '6.9.1')
    assert ended(str(tmp_path)) == 1
    assert 'a newer gradio than 6.9.1' in capsys.readouterr().err


@pytest.mark.parametrize('words', [['--auth', 'none.txt'], ['--texts', 'none.txt']])
def test_files_are_read_before_the_model(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ended('no_index', *words) == 1
    assert 'none.txt: can not be read' in capsys.readouterr().err


def test_a_port_that_is_taken_is_said():
    from coavt_mm.app.serving import bound

    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f':{port} can not be used'):
            bound('127.0.0.1', port)
    for host, port in (('no.such.host.invalid', 0), ('127.0.0.1', 99999)):
        with pytest.raises(ConfigError, match='can not be used'):
            bound(host, port)
