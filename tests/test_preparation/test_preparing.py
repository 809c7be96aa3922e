import json
import os
import shutil
import signal

import pytest

from coavt_mm.datasets import AVTDataset
from coavt_mm.datasets.manifest import content_hash
from coavt_mm.errors import ConfigError, DatasetMissingError
from coavt_mm.preparation import (
    FolderIndex,
    ListedClip,
    check_clip,
    prepare,
    preparing,
)
from coavt_mm.preparation.journal import read_journal
from coavt_mm.preparation.report import one_line_per_split


@pytest.fixture
def corpus(tmp_path, make_clip):
    """Clips a (good), b (the same bytes), c (silent), d (text), outside the output."""
    folder = tmp_path / 'clips'
    folder.mkdir()
    for name, options in (('a', {}), ('b', {}), ('c', dict(silent=True))):
        shutil.copy(make_clip(**options), folder / f'{name}.mp4')
    (folder / 'd.mp4').write_text('no film')
    return folder


def run(corpus, out, names='abcde', workers=0, **options):
    clips = [ListedClip(name, labels=['dog']) for name in names]
    splits, index = dict(all=clips), FolderIndex([corpus])
    return prepare(splits, index, out, dataset='own', workers=workers, **options)


def ids(path):
    return [json.loads(line)['id'] for line in path.read_text().splitlines()]


@pytest.mark.parametrize('workers', [1, 2])
def test_manifest_and_report(corpus, tmp_path, workers):
    report = run(corpus, tmp_path, classes=['cat', 'dog'], workers=workers)
    part = report['splits']['all']
    assert (part['listed'], part['found'], part['written']) == (5, 4, 3)
    assert {name: list(x) for name, x in part['problems'].items()} == dict(
        missing=['e'], unreadable=['d'], silent=['c'], duplicate=['b']
    )
    assert part['problems']['duplicate']['b'] == 'same as a'
    assert json.loads((tmp_path / 'report.json').read_text()) == report
    text = (tmp_path / 'report.md').read_text()
    assert '| all | 5 | 4 | 3 | 1 | 1 | 0 | 1 | 0 | 0 | 1 |' in text
    assert '- `d`: ' in text
    info = AVTDataset('all.jsonl', str(tmp_path), test_mode=True).metainfo
    assert (info['protocol'], info['clips'], info['missing']) == ('own-all', 3, 2)
    assert info['hash'] == part['hash'] == content_hash(tmp_path / 'all.jsonl')
    assert info['classes'] == ['cat', 'dog']


def test_paths_are_relative_below_the_output_folder(corpus, tmp_path):
    run(corpus, tmp_path)
    assert '"clip": "clips/a.mp4"' in (tmp_path / 'all.jsonl').read_text()
    run(corpus, tmp_path / 'other')
    assert f'"clip": "{corpus}/a.mp4"' in (tmp_path / 'other/all.jsonl').read_text()


def test_drop(corpus, tmp_path):
    run(corpus, tmp_path, drop=['silent', 'duplicate'])
    assert ids(tmp_path / 'all.jsonl') == ['a']


def test_resumes_after_an_interruption(corpus, tmp_path, monkeypatch):
    calls = []

    def check(task, real=preparing.check_clip):
        calls.append(task.clip)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(task)

    monkeypatch.setattr(preparing, 'check_clip', check)
    with pytest.raises(KeyboardInterrupt):
        run(corpus, tmp_path)
    journal = tmp_path / 'journal.jsonl'
    journal.write_text(journal.read_text() + '["(half a li')
    report = run(corpus, tmp_path)
    assert len(calls) == 3 + 2  # a and b were done, c and d are left
    (corpus / 'c.mp4').write_text('changed')  # looked at again
    calls.append(None)
    changed = run(corpus, tmp_path)
    assert len(calls) == 7
    assert 'silent' in report['splits']['all']['problems']
    assert set(changed['splits']['all']['problems']['unreadable']) == {'c', 'd'}


def check_or_die(task):
    """The clips b and d take their process along."""
    if task.clip.endswith(('b.mp4', 'd.mp4')):
        os.kill(os.getpid(), signal.SIGSEGV)
    return check_clip(task)


@pytest.mark.slow
@pytest.mark.parametrize('workers', [1, 2])
def test_a_clip_that_kills_its_process(corpus, tmp_path, forked, monkeypatch, workers):
    monkeypatch.setattr(preparing, 'check_clip', check_or_die)
    problems = run(corpus, tmp_path, workers=workers)['splits']['all']['problems']
    assert problems['unreadable'] == dict.fromkeys(
        'bd', 'the process that read it died (SIGSEGV)'
    )
    assert ids(tmp_path / 'all.jsonl') == ['a', 'c']
    assert '- `b`: the process' in (tmp_path / 'report.md').read_text()
    journal = (tmp_path / 'journal.jsonl').read_text()
    assert run(corpus, tmp_path, workers=0)['splits']['all']['problems'] == problems
    assert (tmp_path / 'journal.jsonl').read_text().strip() == journal.strip()


def test_a_clip_that_takes_all_memory(corpus, tmp_path, forked, monkeypatch):
    """A process that reads clips has a limit, though zeros would cost nothing."""

    def check(task):
        if task.clip.endswith('a.mp4'):
            bytearray(64 << 30)
        return check_clip(task)

    monkeypatch.setattr(preparing, 'check_clip', check)
    report = run(corpus, tmp_path, workers=1)
    assert report['splits']['all']['problems']['unreadable']['a'] == 'out of memory'


@pytest.mark.parametrize(
    'damage',
    [
        lambda key, result: 5,
        lambda key, result: [key],
        lambda key, result: [[key], result],
        lambda key, result: {key: result},
        lambda key, result: [key, {}],
        lambda key, result: [key, 'x'],
        lambda key, result: [key, dict(result, problems='silent')],
        lambda key, result: [key, dict(result, problems=['loud'])],
        lambda key, result: [key, dict(result, problems=[[]])],
        lambda key, result: [key, dict(result, start='x')],
        lambda key, result: [key, dict(result, start=True)],
        lambda key, result: [key, dict(result, start=-1)],
        lambda key, result: [key, dict(result, start=5, end=3)],
        lambda key, result: [key, dict(result, end='x')],
        lambda key, result: [key, dict(result, end=1e300)],
        lambda key, result: [key, dict(result, hash=5)],
        lambda key, result: [key, dict(problems=[])],
        lambda key, result: [key, dict(problems=['unreadable'], reason=5)],
    ],
)
def test_a_damaged_journal_is_done_again(tmp_path, damage):
    good = ['key', dict(problems=['silent'], start=0.0, end=None, hash='ab')]
    path = tmp_path / 'journal.jsonl'
    lines = [json.dumps(damage(*good)), '[' * 200_000, json.dumps(['other', good[1]])]
    path.write_bytes('\n'.join(lines).encode() + b'\n["\xff", {}]\n["half')
    assert read_journal(path) == dict([['other', good[1]]])
    path.write_text('\ufeff' + json.dumps(good))
    assert read_journal(path) == dict([good])


@pytest.mark.parametrize('name', ['journal', 'Journal', 'a/b', '/abs', '../x', ''])
def test_a_split_that_would_be_another_file(corpus, tmp_path, name):
    splits = {name: [ListedClip('a')]}
    with pytest.raises(ConfigError, match="a split can't be named"):
        prepare(splits, FolderIndex([corpus]), tmp_path / 'out', dataset='own')
    assert not (tmp_path / 'out').exists()


def test_captions_that_several_clips_share_are_counted(corpus, tmp_path):
    captions = dict(a=['A dog.', 'It rains'], b=['a  dog. '], c=['x', 'X'], e=['x'])
    clips = [ListedClip(name, captions=texts) for name, texts in captions.items()]
    clips[2].audio_captions.append('a dog.')
    report = prepare(
        dict(all=clips), FolderIndex([corpus]), tmp_path, dataset='own', drop=[]
    )
    part = report['splits']['all']
    assert (part['shared_captions'], part['clips_with_shared_captions']) == (1, 2)
    words = '1 captions are shared by several clips, 2 in all'
    assert f'all: {words}.' in (tmp_path / 'report.md').read_text()
    assert one_line_per_split(report).endswith(f'; {words}')
    assert 'shared' not in one_line_per_split(run(corpus, tmp_path))


def test_an_empty_list(corpus, tmp_path):
    with pytest.raises(ConfigError, match='all has no clips'):
        run(corpus, tmp_path, names='')
    with pytest.raises(ConfigError, match='own: the list has no clips'):
        prepare({}, FolderIndex([corpus]), tmp_path, dataset='own')


def test_nothing_found(corpus, tmp_path):
    with pytest.raises(DatasetMissingError, match='names such as x.mp4'):
        run(corpus, tmp_path, names='xyz')
    assert not (tmp_path / 'all.jsonl').exists()


def test_a_link_that_leads_nowhere(corpus, tmp_path):
    (corpus / 'e.mp4').symlink_to(tmp_path / 'gone.mp4')
    assert set(run(corpus, tmp_path)['splits']['all']['problems']['unreadable']) == {
        'd', 'e'
    }  # fmt: skip
