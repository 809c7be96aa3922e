"""The command ``coavt``: its pages, what it passes on, how it ends."""

import re
import subprocess
from argparse import ArgumentParser

import pytest

from coavt_mm import __version__
from coavt_mm.cli import main as door
from coavt_mm.cli.commands import Command, Group, SettingsAction
from coavt_mm.cli.info import describe


def pages(commands=door.COMMANDS, words=()):
    """Words of each command, and the command."""
    for word, command in commands.items():
        if isinstance(command, Group):
            yield from pages(command.commands, (*words, word))
        else:
            yield (*words, word), command


PAGES = dict(pages())


def run(*words):
    """Runs the command; returns its exit status."""
    try:
        door.main(words)
    except SystemExit as ended:
        return ended.code
    return 0


@pytest.mark.parametrize('words', PAGES, ids=' '.join)
def test_a_page_says_what_each_option_is_and_gives_an_example(words, capsys):
    command = PAGES[words]
    assert run(*words, '--help') == 0
    page = capsys.readouterr().out
    assert command.about in page and 'default: None' not in page
    parser = ArgumentParser()
    command.add(parser)
    assert [a.dest for a in parser._actions if not a.help] == []
    assert command.examples
    for example in command.examples:
        line = example.partition('#')[0].strip()
        assert line in page
        assert re.search(rf'\bcoavt(_mm)? {" ".join(words)}\b', line)


def test_examples_can_be_typed():
    parser = door.make_parser()
    for words, command in PAGES.items():
        for example in command.examples:
            line = re.split(r'coavt(?:_mm)? (?=[a-z])', example.partition('#')[0])[-1]
            given = subprocess.run(
                ['bash', '-c', f'printf "%s\\n" {line}'], capture_output=True, text=True
            ).stdout.splitlines()
            chosen, _ = parser.parse_args(given).chosen
            assert chosen is command, words


def test_the_first_page_names_all_commands(capsys):
    assert run('--help') == 0
    page = capsys.readouterr().out
    for word, command in door.COMMANDS.items():
        first = command.about.splitlines()[0]
        assert first.endswith('.')
        assert re.search(rf'^    {word} ', page, re.MULTILINE)
    assert run('--version') == 0 and __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ([], 'the following arguments are required: COMMAND'),
        (['trainn'], "invalid choice: 'trainn'"),
        (['prepare'], 'the following arguments are required: COMMAND'),
        (
            ['retrieve', 'x.pth', 'a.mp4'],
            'coavt retrieve: error: retrieve needs --texts',
        ),
        (['shards', 'out'], 'coavt shards: error: a manifest and a folder are needed'),
        (['caption', 'x.pth', 'a.mp4', '--texts', 'a'], 'unrecognized arguments'),
        (['train', 'x.py', '--cfg-options', 'a'], "'a' is not KEY=VALUE"),
        (['train', 'x.py', '--cfg-options', 'a=[1,(2]'], "')' is missing"),
    ],
)
def test_what_can_not_be_read_is_said(words, message, capsys):
    assert run(*words) == 2
    assert message in capsys.readouterr().err


def test_an_error_is_one_line(tmp_path, capsys):
    assert run('caption', str(tmp_path / 'gone.pth'), 'x.mp4') == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('Error: ') and 'gone.pth' in line


@pytest.mark.parametrize(('module', 'cure'), [('mmcv', 'mmcv-lite'), ('av', 'info')])
def test_a_missing_package_is_one_line(module, cure, monkeypatch, capsys):
    def run_without(args):
        raise ModuleNotFoundError(f'No module named {module!r}', name=module)

    command = Command('Do it.', lambda parser: None, run_without)
    monkeypatch.setitem(door.COMMANDS, 'info', command)
    assert run('info') == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'Error: {module} is not installed') and cure in line


@pytest.mark.parametrize('shell', ['bash', 'zsh'])
def test_completion_knows_commands_and_options(shell, capsys):
    assert run('--print-completion', shell) == 0
    script = capsys.readouterr().out
    assert 'sounding-shapes' in script and '--on-error' in script
    if shell == 'bash':
        subprocess.run(['bash', '-n'], input=script, text=True, check=True)


def test_settings_keep_blanks_in_paths():
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=SettingsAction, default={})
    given = ['load_from=mein lauf/x.pth', 'a.b=[1, 2]', 'c=(1,x)', 'd=1e-3', "e='g h'",
             'f=True', 'g=x=y']  # fmt: skip
    assert parser.parse_args(['--cfg-options', *given]).cfg_options == {
        'load_from': 'mein lauf/x.pth', 'a.b': [1, 2], 'c': (1, 'x'), 'd': 1e-3,
        'e': 'g h', 'f': True, 'g': 'x=y',
    }  # fmt: skip


def test_info_says_what_is_missing_and_what_it_costs(monkeypatch):
    text = '\n'.join(describe())
    for word in ('coavt-mm', 'Python', 'torch', 'CPU: ', 'GPUs: ', 'pyav: works',
                 'libavcodec'):  # fmt: skip
        assert word in text
    assert 'CONFLICT' not in text
    versions = {'mmengine': '0.10.7', 'onedl-mmengine': '0.11'}
    for module in ('cli.info', 'compat'):
        monkeypatch.setattr(f'coavt_mm.{module}.version_of', versions.get)
    monkeypatch.setattr('shutil.which', lambda name: None)
    lines = list(describe())
    (conflict,) = [line for line in lines if line.startswith('CONFLICT')]
    assert 'mmengine and onedl-mmengine' in conflict
    assert any(line.startswith('missing Java: no METEOR') for line in lines)
    assert any(line.startswith('missing pycocoevalcap: ') for line in lines)


def test_a_command_is_called_as_its_tool_is():
    seen = []
    command = Command('Do it.', lambda p: p.add_argument('x', type=int), seen.append)
    command(['3'])
    assert vars(seen[0]) == {'x': 3}


def test_an_option_that_is_mistyped_is_told_the_nearest(capsys):
    for words, said in (
        (['search', 'query', 'idx', '--strem', 'A'], 'is --stream meant?'),
        (['train', 'x.py', '--resum'], ''),  # short for --resume
        (['train', 'x.py', '--sed=1', '--apm'], 'is --seed --amp meant?'),
        (['info', '--bogus'], 'unrecognized arguments: --bogus'),
    ):
        with pytest.raises(SystemExit) as ended:
            door.main(words)
        err = capsys.readouterr().err
        assert ended.value.code == (2 if said else 1)
        if said:
            assert err.startswith(f'usage: coavt {words[0]}')
            assert err.rstrip().endswith(said)
