import json
import shutil

import pytest

from coavt_mm.datasets import AVTDataset
from coavt_mm.datasets.manifest import content_hash
from coavt_mm.datasets.preparation import FolderIndex, ListedClip, prepare, preparing
from coavt_mm.errors import ConfigError, DatasetMissingError


@pytest.fixture
def corpus(tmp_path, make_clip):
    """Clips a (good), b (the same bytes), c (silent), d (text), outside the output."""
    folder = tmp_path / 'clips'
    folder.mkdir()
    for name, options in (('a', {}), ('b', {}), ('c', dict(silent=True))):
        shutil.copy(make_clip(**options), folder / f'{name}.mp4')
    (folder / 'd.mp4').write_text('no film')
    return folder


def run(corpus, out, names='abcde', **options):
    clips = [ListedClip(name, labels=['dog']) for name in names]
    return prepare(
        dict(all=clips), FolderIndex([corpus]), out, dataset='own', **options
    )


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


def test_an_empty_list(corpus, tmp_path):
    with pytest.raises(ConfigError, match='all has no clips'):
        run(corpus, tmp_path, names='')


def test_nothing_found(corpus, tmp_path):
    with pytest.raises(DatasetMissingError, match='names such as x.mp4'):
        run(corpus, tmp_path, names='xyz')
    assert not (tmp_path / 'all.jsonl').exists()


def test_a_link_that_leads_nowhere(corpus, tmp_path):
    (corpus / 'e.mp4').symlink_to(tmp_path / 'gone.mp4')
    assert set(run(corpus, tmp_path)['splits']['all']['problems']['unreadable']) == {
        'd', 'e'
    }  # fmt: skip
