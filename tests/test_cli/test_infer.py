"""The command line: what it takes, prints, writes and ends with."""

import csv
import io
import json
import os
import shutil
import sys

import numpy as np
import pytest
from media_files import write_rows

from coavt_mm.apis import embed, load_model, read_clips, retrieve
from coavt_mm.cli.infer import TASKS, main, parse_args
from coavt_mm.cli.launch import run_tool
from coavt_mm.errors import ClipError, InputError, ManifestError

pytestmark = pytest.mark.slow

WORDS = {
    'retrieve': ['--texts', 'dog', 'the'],
    'match': ['--texts', 'dog', 'the'],
    'classify': ['--texts', 'dog', 'cat', 'the'],
    'embed': ['--texts', 'dog'],
}
ANSWERED = {'caption': 2, 'classify': 6, 'retrieve': 4, 'match': 4}  # rows of a table


@pytest.fixture
def here(tmp_path, monkeypatch, short):
    """A folder to stand in: two good clips, one of them deep, and a bad one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'clips/deep').mkdir(parents=True)
    shutil.copy(short, tmp_path / 'clips/a.mp4')
    (tmp_path / 'clips/b.mp4').write_bytes(b'no film')
    shutil.copy(short, tmp_path / 'clips/deep/c.mp4')
    return tmp_path


@pytest.fixture
def run(checkpoint, capsys):
    """Calls the command; what it prints, and the error that it ends with."""

    def call(task, *words, device='cpu'):
        error = ''
        try:
            main([task, str(checkpoint), *words, '--device', device])
        except (ClipError, InputError, ManifestError) as caught:
            error = str(caught)
        printed = capsys.readouterr()
        return printed.out.splitlines(), printed.err.splitlines(), error

    return call


def read_json(path):
    with open(path, encoding='utf-8') as file:
        return json.load(file)


@pytest.mark.parametrize('task', TASKS)
def test_a_folder_in_depth_with_a_bad_clip(here, run, task):
    out, errors, error = run(task, 'clips', *WORDS.get(task, []))
    assert error == '1 of 3 clips are without an answer'
    assert [e for e in errors if e.startswith('clips/b.mp4: ')] == errors[-1:]
    text = '\n'.join(out)
    assert 'b.mp4' not in text and ('clips/a.mp4' in text) != (task == 'visualize')
    _, errors, error = run(
        task, 'clips', '--on-error', 'raise', '--batch-size', '1', *WORDS.get(task, [])
    )
    assert error.startswith('clips/b.mp4: ')
    assert not any('b.mp4' in line for line in errors)


def test_a_log_is_no_answer(here, run, monkeypatch):
    def load(*args, **options):
        print('a log')
        return load_model(*args, **options)

    monkeypatch.setattr('coavt_mm.apis.load_model', load)
    out, errors, _ = run('caption', 'clips/a.mp4')
    assert len(out) == 1 and out[0].startswith('clips/a.mp4 [')
    assert 'a log' in errors


def test_the_status_and_the_last_line(here, checkpoint, monkeypatch, capsys):
    words = ['caption', str(checkpoint), 'clips', '--device', 'cpu']
    monkeypatch.setattr(sys, 'argv', ['infer.py', *words])
    with pytest.raises(SystemExit) as ended:
        run_tool(main)
    printed = capsys.readouterr()
    assert ended.value.code == 1 and len(printed.out.splitlines()) == 2
    assert printed.err.splitlines()[-1] == 'Error: 1 of 3 clips are without an answer'
    monkeypatch.setattr(sys, 'argv', ['infer.py', words[0], words[1], 'clips/deep'])
    run_tool(main)


@pytest.mark.parametrize('task', ANSWERED)
def test_answers_in_a_table(here, run, task):
    run(task, 'clips', '--out', 'new/answers.csv', *WORDS.get(task, []))
    with open('new/answers.csv', encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    bad = [row for row in rows if row['error']]
    assert len(rows) - len(bad) == ANSWERED[task]
    assert len(bad) == (2 if task == 'retrieve' else 1)  # each query says it
    name = 'candidate' if task == 'retrieve' else 'clip'
    assert all(row['error'].startswith('clips/b.mp4: ') for row in bad)
    assert {row[name] for row in rows} == {
        f'clips/{clip}.mp4' for clip in ('a', 'b', 'deep/c')
    }
    assert os.listdir('new') == ['answers.csv']


def test_answers_as_json_are_those_of_python(here, run, coavt):
    run('retrieve', 'clips', '--out', 'answers.JSON', '--texts', 'dog', 'the')
    with pytest.warns(UserWarning, match='1 of 3'):
        wanted = retrieve(['dog', 'the'], 'clips', model=coavt)
    assert read_json('answers.JSON') == wanted
    run('embed', 'clips/a.mp4', '--out', 'one.json', '--texts', 'dog')
    found = read_json('one.json')
    wanted = embed('clips/a.mp4', text='dog', model=coavt)
    np.testing.assert_array_equal(
        np.float32(found['clips'][0]['windows'][0]['embeddings']['AV']),
        wanted['clips'][0]['windows'][0]['embeddings']['AV'],
    )
    np.testing.assert_array_equal(
        np.float32(found['texts'][0]['embedding']), wanted['texts'][0]['embedding']
    )


def test_embeddings_as_arrays(here, run, coavt, make_clip):
    shutil.copy(make_clip(seconds=1.0, sound=False), 'clips/film.mp4')
    run('embed', 'clips', '--out', 'found.npz', '--texts', 'dog', 'the')
    with np.load('found.npz', allow_pickle=False) as file:
        found = dict(file)
    names = ['clips/a.mp4', 'clips/deep/c.mp4', 'clips/film.mp4', 'clips/film.mp4']
    assert found['clip'].tolist() == names
    np.testing.assert_allclose(found['start'], [0, 0, 0, 0.5])
    np.testing.assert_allclose(found['end'], [0.5, 0.5, 0.5, 1.0], atol=0.05)
    assert found['failed'].tolist() == ['clips/b.mp4'] and found['error'].size == 1
    assert np.isnan(found['AV'][2:]).all() and np.isnan(found['A'][2:]).all()
    assert np.isfinite(found['V']).all() and np.isfinite(found['AV'][:2]).all()
    assert found['text'].tolist() == ['dog', 'the']
    alone = embed('clips/a.mp4', text='dog', model=coavt)
    wanted = alone['clips'][0]['windows'][0]['embeddings']['AV']
    np.testing.assert_allclose(found['AV'][0], wanted, atol=1e-6)
    np.testing.assert_allclose(
        found['text_embedding'][0], alone['texts'][0]['embedding'], atol=1e-6
    )


def test_a_file_that_can_not_be_written_is_said_first(here, run, monkeypatch):
    monkeypatch.setattr('coavt_mm.apis.load_model', None)
    (here / 'folder.json').mkdir()
    for task, out, message in (
        ('caption', 'x.txt', r'x.txt: answers go to a file *.json or *.csv'),
        ('embed', 'x.csv', r'x.csv: answers go to a file *.npz or *.json'),
        ('caption', 'folder.json', 'folder.json: is a folder'),
        ('caption', 'clips/a.mp4/x.json', 'clips/a.mp4: is no folder'),
    ):
        _, _, error = run(task, 'clips', '--out', out)
        assert message in error
    assert sorted(os.listdir()) == ['clips', 'folder.json']


@pytest.mark.parametrize('out', ['clips/a.mp4', 'clips/a.mp4/deep'])
def test_pictures_need_a_folder(here, run, out):
    _, _, error = run('visualize', 'clips', '--out', out)
    assert error.startswith(f'{out}: is no folder')


def test_the_old_name_of_a_task(here, capsys):
    assert parse_args(['picture', 'x.pth', 'a.mp4']).task == 'visualize'
    assert "'picture' is now called 'visualize'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse_args(['pictures', 'x.pth', 'a.mp4'])


def test_a_manifest_gives_spans_and_other_sounds(here, run, make_clip, checkpoint):
    data = here / 'data'
    data.mkdir()
    shutil.copy(make_clip(seconds=2.0), data / 'long.mp4')
    shutil.copy(make_clip('.wav', seconds=2.0, codec='pcm_s16le', picture=False),
                data / 's.wav')  # fmt: skip
    rows = [
        {'id': 'one', 'clip': 'long.mp4', 'start': 0.5, 'end': 1.0},
        {'id': 'two', 'clip': 'long.mp4', 'audio': 's.wav', 'start': 1.5},
        {'id': 'three', 'clip': None, 'audio': 's.wav', 'end': 0.5},
        {'id': 'gone', 'clip': 'gone.mp4'},
    ]
    write_rows(data / 'm.jsonl', rows)
    write_rows(here / 'other/m.jsonl', rows)
    wanted = ['one [0.5-1.0 s, AV]', 'two [1.5-2.0 s, AV]', 'three [0.0-0.5 s, A]']
    for words in (['data/m.jsonl'], ['other/m.jsonl', '--data-root', 'data']):
        out, errors, error = run('caption', *words)
        assert [line.split('  ')[0] for line in out if '[' in line] == wanted
        assert error == '1 of 4 clips are without an answer'
        assert errors[-1].startswith('gone: data/gone.mp4: No such file')
    out, _, error = run('caption', 'data/m.jsonl', 'clips/deep', 'clips/a.mp4')
    assert len([line for line in out if '[' in line]) == 5
    assert error == '1 of 6 clips are without an answer'
    model = load_model(checkpoint, device='cpu', show_progress=False)
    some = [clip for clip in read_clips('data/m.jsonl') if clip['name'] != 'gone']
    found = embed(some, model=model)['clips']
    assert [clip['clip'] for clip in found] == ['one', 'two', 'three']
    write_rows(data / 'empty.jsonl', [])
    write_rows(data / 'wrong.jsonl', [{'clipp': 'x'}])
    for name, message in (('empty', 'the manifest has no rows'), ('wrong', 'clipp')):
        _, _, error = run('caption', f'data/{name}.jsonl')
        assert error.startswith(f'data/{name}.jsonl:') and message in error


def test_what_is_wrong_with_the_words(here, capsys):
    for words, message in (
        (['retrieve', 'x.pth', 'a.mp4'], 'retrieve needs --texts'),
        (['match', 'x.pth', 'a.mp4'], 'match needs --texts'),
        (['caption', 'x.pth', 'a.mp4', '--data-root', '.'], 'is for manifests'),
        (['caption', 'x.pth', 'a.mp4', '--colour'], 'unrecognized arguments: --colour'),
    ):
        with pytest.raises(SystemExit):
            parse_args(words)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize('name', ['-a_b.mp4', '--x.mp4', '-hello', '--texts.mp4', '-9'])
def test_names_that_begin_with_a_dash(here, checkpoint, run, short, name, capsys):
    shutil.copy(short, name)
    for words in ([name], ['--batch-size', '3', name]):
        out, _, error = run('caption', *words)
        assert error == '' and [x for x in out if f'{name} [' in x] == out[-1:]
    model, device = str(checkpoint), ['--device', 'cpu']
    for words in (
        ['caption', *device, model, '--', name],
        [*device, 'caption', model, 'clips/a.mp4', name],
        [*device, '--', 'caption', model, name, 'clips/a.mp4'],
    ):
        main(words)
        out = capsys.readouterr().out.splitlines()
        assert len([line for line in out if f'{name} [' in line]) == 1


def test_a_missing_name_with_a_dash_is_named(here, run):
    assert './-gone.mp4: No such file' in run('caption', '-gone.mp4')[2]


def test_names_can_not_steer_the_terminal(here, run, short):
    evil = 'x\x1b[2J\x1b]0;me\x07\u202e.mp4'
    shutil.copy(short, evil)
    (here / f'bad{evil}').write_bytes(b'no film')
    out, errors, _ = run('caption', '.')
    for lines in (out, errors):
        text = '\n'.join(lines)
        assert r'x\x1b[2J\x1b]0;me\x07\u202e.mp4' in text
        assert '\x1b' not in text and '\u202e' not in text


def test_names_that_are_no_utf8(here, run, short, monkeypatch):
    shutil.copy(short, os.fsencode(here) + b'/clips/\xe9t\xe9.mp4')
    out, _, error = run('caption', 'clips', '--out', 'x.json')
    assert error == '1 of 4 clips are without an answer'
    assert r'clips/\xe9t\xe9.mp4 [' in '\n'.join(out)
    names = [found['clip'] for found in read_json('x.json')]
    assert all(os.path.exists(name) for name in names)
    run('caption', 'clips', '--out', 'x.csv')
    run('embed', 'clips', '--out', 'x.npz')
    with np.load('x.npz') as found:
        assert all(os.path.exists(name) for name in found['clip'].tolist())
    _, _, error = run('visualize', 'clips', '--out', 'drawn')
    assert len(os.listdir('drawn')) == 3


def test_a_terminal_that_lacks_the_letters(here, run, short, monkeypatch, capsys):
    shutil.copy(short, 'clips/映画.mp4')
    stream = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr(sys, 'stdout', stream)
    run('caption', 'clips/映画.mp4')
    stream.flush()
    assert rb'clips/\u6620\u753b.mp4 [' in stream.buffer.getvalue()


def test_pictures_of_strange_names(here, run, short):
    for name in ('$\\frac$', 'a$b$c', 'x' * 250, 'ü' * 120, '$$$'):
        shutil.copy(short, f'{name}.mp4')
    out, _, error = run(
        'visualize', '.', '--out', 'drawn', '--texts', '$\\frac$', 'a $5 dog, $6'
    )
    assert error == '1 of 8 clips are without an answer'
    assert len(os.listdir('drawn')) == len(out) == 7


def test_what_a_text_loses_is_one_line(here, run):
    words = ('clips/a.mp4', '--texts', 'the колокол', '--out', 'x.csv')
    _, errors, _ = run('retrieve', *words)
    (line,) = [line for line in errors if line.startswith('Warning: ')]
    assert '"the колокол": the tokenizer does not know "колокол"' in line
    with open('x.csv', encoding='utf-8') as file:
        assert next(csv.DictReader(file))['unknown_words'] == 'колокол'


def test_silence_is_said(here, run, make_clip):
    out, _, _ = run('caption', str(make_clip(seconds=0.5, silent=True)))
    assert ' s, V, silent]' in out[0]
