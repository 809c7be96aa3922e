"""An index follows its files, and outlives whoever writes it."""

import json
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import tiny_apis
import torch

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.errors import DatasetMissingError, InputError, SearchError
from coavt_mm.models.similarity import similarity
from coavt_mm.search import Filters, Index, catalogue, writing
from coavt_mm.search.index import model_hash


def names(index):
    """Names of the clips that can be found, with their windows."""
    query = (
        'SELECT path, count(*) FROM windows JOIN clips ON clips.id = clip GROUP BY 1'
    )
    found = index.catalogue.rows(query)
    return {Path(os.fsdecode(path)).name: count for path, count in found}


def test_all_windows_of_all_clips(index, coavt, folder):
    assert names(index) == {
        '0.mp4': 1,
        '1.mp4': 1,
        '2.mp4': 1,
        '3.mp4': 1,
        'long.mp4': 3,
    }
    info = index.info()
    assert (info['clips'], info['windows'], info['failed']) == (5, 7, 0)
    assert info['vectors'] == {'AV': 7, 'A': 7, 'V': 7}
    assert info['seconds'] == pytest.approx(3.5, abs=0.2)
    assert info['places'] == {str(folder): 5}
    assert info['last']['action'] == 'add' and info['last']['finished']


def test_a_clip_that_crashes_a_decoder_costs_itself(faulty, tmp_path, folder, coavt):
    for name in ('crash.mp4', 'large.mp4'):
        shutil.copy(folder / 'long.mp4', folder / name)
    with Index.create(tmp_path / 'new', coavt) as made:
        report = made.add(coavt, [folder], workers=2)
        assert (report.new, report.failed) == (5, 2)
        errors = {Path(path).name: why for path, why in report.errors.items()}
        assert 'SIGSEGV' in errors['crash.mp4'] and 'memory' in errors['large.mp4']
        assert len(names(made)) == 5


def test_scores_are_those_of_retrieve(index, coavt, folder):
    clips = [*map(str, sorted(folder.rglob('*.mp4')))]
    for stream in ('AV', 'A', 'V'):
        (expected,) = coavt.retrieve('the dog barks', clips, stream=stream)
        found = index.query(coavt, 'the dog barks', stream=stream)
        scores = {hit['candidate']: hit['similarity'] for hit in expected['hits']}
        assert {hit['clip'] for hit in found['hits']} == {*clips}
        for hit in found['hits']:
            assert hit['similarity'] == pytest.approx(scores[hit['clip']], abs=1e-3)
            assert hit['similarity'] == hit['scores'][stream]
    best = index.query(coavt, 'the dog barks', stream='best', topk=2)['hits']
    assert len(best) == 2
    assert all(hit['similarity'] == max(hit['scores'].values()) for hit in best)


def test_a_clip_finds_itself(index, coavt, folder):
    clip = folder / 'inner' / '2.mp4'
    (hit,) = index.query(coavt, clip=str(clip), topk=1)['hits']
    assert hit['similarity'] == pytest.approx(1, abs=1e-3)
    both = index.query(coavt, 'dog', clip=str(clip), topk=9)['hits']
    words = {h['clip']: h['similarity'] for h in index.query(coavt, 'dog')['hits']}
    alone = {h['clip']: h['similarity']
             for h in index.query(coavt, clip=str(clip))['hits']}  # fmt: skip
    for hit in both:
        if not hit['clip'].endswith('long.mp4'):  # there another window may be best
            mean = (words[hit['clip']] + alone[hit['clip']]) / 2
            assert hit['similarity'] == pytest.approx(mean, abs=1e-5)
    assert index.query(coavt, sound=str(clip), stream='A', topk=1)['hits']
    assert index.query(coavt, picture=str(clip), stream='V', topk=1)['hits']


def test_new_changed_moved_and_gone(index, coavt, folder, make_clip):
    shutil.copy(make_clip(seconds=0.5, frequency=900.0), folder / 'new.mp4')
    shutil.copy(make_clip(seconds=1.0), folder / '0.mp4')
    (folder / '1.mp4').rename(folder / 'inner' / 'moved.mp4')
    (folder / 'inner' / '3.mp4').unlink()
    os.utime(folder / 'long.mp4', (1, 1))  # touched, not changed
    report = index.add(coavt)
    counts = (report.new, report.changed, report.moved, report.gone, report.unchanged)
    assert counts == (1, 1, 1, 1, 2)
    assert report.windows == 3  # what is moved is not embedded again
    expected = {'0.mp4': 2, '2.mp4': 1, 'moved.mp4': 1, 'new.mp4': 1, 'long.mp4': 3}
    assert names(index) == expected
    again = index.add(coavt)
    assert (again.unchanged, again.windows) == (5, 0)
    assert len(index.query(coavt, 'dog', topk=99)['hits']) == 5
    index.compact()
    assert index.info()['vectors'] == {'AV': 8, 'A': 8, 'V': 8}
    assert len(index.query(coavt, 'dog', topk=99)['hits']) == 5


def test_a_folder_that_moved_is_known_by_its_content(index, coavt, folder):
    index.remove([folder / '0.mp4'])
    new = folder.rename(folder.with_name('elsewhere'))
    with pytest.raises(DatasetMissingError, match=r'if it has moved, .* knows the cli'):
        index.add(coavt)
    shutil.copy(new / '1.mp4', new / 'copy.mp4')
    report = index.add(coavt, [new], {'long.mp4': ['long']})
    assert (report.new, report.moved, report.gone, report.windows) == (1, 5, 0, 1)
    expected = {'1.mp4': 1, '2.mp4': 1, '3.mp4': 1, 'copy.mp4': 1, 'long.mp4': 3}
    assert names(index) == expected  # what was taken out stays away
    assert index.info()['labels'] == {'long': 1}
    assert index.add(coavt).unchanged == 6
    index.add(coavt, [new / '0.mp4'])
    assert len(names(index)) == 6


def test_on_a_disk_that_is_mounted_for_reading(index, coavt, monkeypatch):
    wanted = index.query(coavt, 'dog')['hits']
    index.close()
    files = sorted(os.listdir(index.folder))
    monkeypatch.setattr(catalogue, 'is_read_only', lambda folder: True)
    with Index(index.folder) as again:
        assert again.query(coavt, 'dog')['hits'] == wanted
        assert sorted(os.listdir(index.folder)) == files
        with pytest.raises(SearchError, match='readonly'):
            again.remove([wanted[0]['clip']])


def test_a_full_disk_is_one_line(index, coavt, folder, make_clip):
    shutil.copy(make_clip(seconds=2.0), folder / 'more.mp4')
    pages = index.catalogue.value('PRAGMA page_count')
    index.catalogue.rows(f'PRAGMA max_page_count = {pages}')
    labels = {'0.mp4': [f'{number:0999}' for number in range(40)]}
    with pytest.raises(SearchError, match='is full; what was indexed before is safe'):
        index.add(coavt, [folder], labels)
    assert len(names(index)) == 5


def test_another_content_of_the_same_size_and_time(index, coavt, folder, make_clip):
    """Exchanged files: a clock that anyone can set is not believed."""
    first, second = folder / '0.mp4', folder / 'inner' / '2.mp4'
    before = os.stat(first)
    content = bytearray(first.read_bytes())
    content[-40:] = bytes(40)
    first.write_bytes(content)
    os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert index.add(coavt).changed + index.add(coavt).failed == 1
    assert second.exists()


def test_a_folder_that_is_not_mounted_keeps_its_clips(index, coavt, folder):
    shutil.move(folder, folder.with_name('elsewhere'))
    with pytest.raises(DatasetMissingError, match='there is no such folder'):
        index.add(coavt)
    folder.mkdir()
    with pytest.raises(InputError, match='if a disk is not mounted'):
        index.add(coavt)
    assert len(names(index)) == 5


def test_a_folder_within_a_folder_and_a_single_file(index, coavt, folder, make_clip):
    inner = folder / 'inner'
    shutil.copy(make_clip(seconds=0.5), inner / 'new.mp4')
    single = folder.with_name('single.mp4')
    shutil.copy(make_clip(seconds=0.5), single)
    assert index.add(coavt, [inner, single]).new == 2
    (inner / '2.mp4').unlink()
    assert index.add(coavt, [inner]).gone == 1  # that came with the folder around it
    single.unlink()
    report = index.add(coavt)
    assert (report.gone, report.unchanged, report.windows) == (1, 5, 0)


def test_what_is_removed_stays_away_until_it_is_named(index, coavt, folder):
    assert index.remove([folder / 'inner', folder / '0.mp4']) == 3
    assert names(index) == {'1.mp4': 1, 'long.mp4': 3}
    assert index.add(coavt).windows == 0
    assert names(index) == {'1.mp4': 1, 'long.mp4': 3}
    with pytest.raises(SearchError, match='is no clip of this index'):
        index.remove([folder / 'inner'])
    index.add(coavt, [folder / '0.mp4'])
    assert names(index) == {'0.mp4': 1, '1.mp4': 1, 'long.mp4': 3}


def test_a_clip_that_can_not_be_read_is_told_of_once(index, coavt, folder, make_clip):
    (folder / 'bad.mp4').write_bytes(b'no clip')
    report = index.add(coavt)
    assert report.failed == 1 and 'bad.mp4' in next(iter(report.errors.values()))
    assert index.add(coavt).failed == 0  # as it was
    assert len(index.info()['errors']) == 1
    shutil.copy(make_clip(seconds=0.5), folder / 'bad.mp4')
    assert index.add(coavt).changed == 1
    assert not index.info()['errors']


def test_filters(index, coavt, folder):
    os.utime(folder / '0.mp4', (86400 * 365, 86400 * 365))
    labels = {'inner/2.mp4': ['bell', 'dog'], '1.mp4': ['dog'], '0.mp4': ['bell']}
    index.add(coavt, [folder], labels)
    with pytest.warns(UserWarning, match='1 of 2 clips with labels .* such as 8.mp4'):
        index.add(coavt, [folder / '1.mp4'], {'1.mp4': ['dog'], '8.mp4': ['dog']})
    with pytest.raises(InputError, match='their paths begin in the folder'):
        index.add(coavt, [folder], {f'{folder}/0.mp4': ['dog']})

    def found(**options):
        hits = index.query(coavt, 'dog', filters=Filters(**options))['hits']
        return {Path(hit['clip']).name for hit in hits}

    assert found(folders=(str(folder / 'inner'),)) == {'2.mp4', '3.mp4'}
    assert found(folders=(str(folder)[:-1],)) == set()
    assert found(labels=('dog',)) == {'2.mp4', '1.mp4'}
    assert found(labels=('dog', 'bell')) == {'2.mp4'}
    assert found(longer=1.0) == {'long.mp4'}
    assert found(shorter=1.0) == {'0.mp4', '1.mp4', '2.mp4', '3.mp4'}
    assert found(before='1980-01-01') == {'0.mp4'}
    assert found(after='1980-01-01', longer=1.0) == {'long.mp4'}
    with pytest.raises(InputError, match="'soon' is no date"):
        found(after='soon')


def test_a_pipe_is_not_waited_for(index, coavt, folder):
    os.mkfifo(folder / 'pipe.mp4')
    report = index.add(coavt)
    assert report.failed == 1 and 'not a regular file' in str(report.errors)
    assert index.add(coavt).unchanged == 5


def test_clips_that_lack_a_sense(index, coavt, folder, make_clip):
    shutil.copy(make_clip(seconds=0.5, sound=False), folder / 'mute.mp4')
    shutil.copy(make_clip('.wav', seconds=0.5, picture=False, codec='pcm_s16le'),
                folder / 'heard.wav')  # fmt: skip
    index.add(coavt)
    hits = index.query(coavt, 'dog')['hits']
    streams = {Path(hit['clip']).name: hit['stream'] for hit in hits}
    assert streams['mute.mp4'] == 'V' and streams['heard.wav'] == 'A'
    assert streams['0.mp4'] == 'AV'
    narrow = index.query(coavt, 'dog', stream='A', filters=Filters(shorter=1))
    found = {Path(hit['clip']).name for hit in narrow['hits']}
    assert 'mute.mp4' not in found and 'heard.wav' in found


def test_spans_of_a_manifest(tmp_path, folder, coavt):
    rows = [
        dict(id='a', clip='clips/long.mp4', start=0.5, end=1.0, labels=['x']),
        dict(id='b', clip='clips/long.mp4', start=1.0, end=1.5),
        dict(id='c', clip='clips/0.mp4', audio='clips/1.mp4'),
    ]
    manifest = tmp_path / 'some.jsonl'
    manifest.write_text('\n'.join(map(json.dumps, rows)))
    with Index.create(tmp_path / 'index', coavt) as index:
        assert index.add(coavt, [manifest]).windows == 3
        hits = index.query(coavt, 'dog', filters=Filters(labels=('x',)))['hits']
        assert [(h['name'], h['start'], h['end']) for h in hits] == [('a', 0.5, 1.0)]
        manifest.write_text(json.dumps(rows[0]))
        report = index.add(coavt)
        assert (report.gone, report.unchanged) == (2, 1)


@pytest.mark.parametrize('moment', ['vectors', 'some vectors', 'catalogue'])
def test_a_writer_that_dies_loses_nothing(tmp_path, folder, coavt, monkeypatch, moment):
    """Whatever was written when it died, the next one ends with the same index."""
    commits = []

    class Dies(Exception):
        pass

    def commit(index, batch, note):
        commits.append(len(batch))
        if len(commits) == 2:
            windows = [w for clip in batch for w in clip.answer['windows']]
            if moment == 'some vectors':
                windows = windows[:1]
            if moment != 'catalogue':
                first = index.catalogue.last_window + 1
                writing._write_vectors(index, windows, first)
            raise Dies
        whole(index, batch, note)

    whole = writing._commit
    monkeypatch.setattr(writing, '_commit', commit)
    with Index.create(tmp_path / 'index', coavt) as index, pytest.raises(Dies):
        index.add(coavt, [folder], batch_size=2)
    with Index(tmp_path / 'index') as index:
        committed = names(index)
        assert len(committed) == commits[0]
        assert not index.info()['last']['finished']
        report = index.add(coavt, [folder], batch_size=2)
        assert report.unchanged == commits[0]
        assert report.new == 5 - commits[0]
        compare(index, coavt)


def compare(index, coavt):
    """Its vectors are those that the model gives."""
    for stream in ('AV', 'A', 'V'):
        ids = index.window_ids()
        assert index.store.files[stream].records()['id'].tolist() == ids.tolist()
        rows = index.catalogue.rows(
            'SELECT path, windows.start FROM windows JOIN clips ON clips.id = clip '
            'ORDER BY windows.id'
        )
        features = index.features(stream).read(ids)
        for (path, start), found in zip(rows, features, strict=True):
            (clip,) = coavt.embed(os.fsdecode(path))['clips']
            (window,) = [w for w in clip['windows'] if w['start'] == start]
            expected = window['embeddings'][stream]
            np.testing.assert_allclose(found.astype('f4'), expected, atol=2e-3)


def test_one_writer_and_many_readers(index, coavt, folder, make_clip):
    with Index(index.folder) as reader, index.writing():
        with pytest.raises(SearchError, match='another process writes'):
            reader.remove([folder])
        assert len(reader.query(coavt, 'dog')['hits']) == 5
    with Index(index.folder) as reader:
        index.remove([folder / 'inner'])
        assert len(reader.query(coavt, 'dog')['hits']) == 3
        index.compact()
        assert len(reader.query(coavt, 'dog')['hits']) == 3
        shutil.copy(make_clip(seconds=0.5), folder / 'new.mp4')
        index.add(coavt)
        assert len(reader.query(coavt, 'dog')['hits']) == 4


def test_another_model_is_refused(index, coavt, checkpoint, tmp_path, vocabulary):
    state = torch.load(checkpoint, weights_only=True)
    path = tmp_path / 'other.pth'
    cfg = tiny_apis.coavt_cfg(vocabulary)
    tiny_apis.save(cfg, path)
    other = CoAVTInferencer(weights=path, device='cpu', show_progress=False)
    assert model_hash(other) == index.settings['model']  # another file, same weights
    with torch.no_grad():
        next(other.model.parameters()).add_(1e-3)
    for ask in (lambda: index.query(other, 'dog'), lambda: index.add(other)):
        with pytest.raises(SearchError, match='was made with another model'):
            ask()
    assert state


def test_what_is_no_index(tmp_path, coavt):
    with pytest.raises(SearchError, match='is no search index'):
        Index(tmp_path)
    (tmp_path / 'catalogue.sqlite').write_bytes(b'no database at all' * 100)
    with pytest.raises(SearchError, match='not a database'):
        Index(tmp_path)
    with pytest.raises(SearchError, match='is there already'):
        Index.create(tmp_path, coavt)
    made = tmp_path / 'made'
    Index.create(made, coavt).close()
    with sqlite3.connect(made / 'catalogue.sqlite') as db:
        db.execute("UPDATE about SET value = '7' WHERE key = 'format'")
    with pytest.raises(SearchError, match='has format 7'):
        Index(made)


def test_an_empty_index_answers(tmp_path, coavt):
    with Index.create(tmp_path / 'index', coavt) as index:
        assert index.query(coavt, 'dog') == dict(query='dog', hits=[])
        assert index.query(coavt, 'dog', moments=True)['hits'] == []
        with pytest.raises(InputError, match='name a folder'):
            index.add(coavt)


def test_bad_questions(index, coavt, folder):
    for options, message in (
        (dict(), 'give at least one of'),
        (dict(text='dog', stream='B'), 'stream must be'),
        (dict(text='dog', topk=0), 'topk must be'),
        (dict(clip=str(folder / '0.mp4'), rerank=3), 'none is given'),
    ):
        with pytest.raises(InputError, match=message):
            index.query(coavt, **options)


def test_rerank_by_matching(index, coavt, folder, monkeypatch):
    plain = index.query(coavt, 'the dog')['hits']
    for weight in (30.0, 1.0):
        head = coavt.model.matching_head
        monkeypatch.setattr(head, 'similarity_weight', weight)
        hits = index.query(coavt, 'the dog', rerank=3)['hits']
        sums = [weight * h['similarity'] + h['match_logit'] for h in hits[:3]]
        assert sums == sorted(sums, reverse=True)
    assert [h['clip'] for h in hits[3:]] == [h['clip'] for h in plain[3:]]
    clips = [h['clip'] for h in plain if not h['clip'].endswith('long.mp4')]
    (expected,) = coavt.retrieve('the dog', clips, rerank=4)
    logits = {h['candidate']: h['match_logit'] for h in expected['hits']}
    for hit in hits[:3]:
        if hit['clip'] in logits:
            assert hit['match_logit'] == pytest.approx(logits[hit['clip']], abs=1e-3)
    os.remove(plain[0]['clip'])
    lost = index.query(coavt, 'the dog', rerank=3)['hits'][2]
    assert lost['clip'] == plain[0]['clip'] and 'error' in lost


def test_many_queries_first_then_all(index, coavt):
    """The first stage hands over enough: here all, so that the order is exact."""
    text = coavt.texts.embed(['the dog'])
    ids = index.window_ids()
    exact = similarity(text, index.features('AV').read(ids).astype('f4'))[0].numpy()
    hits = index.query(coavt, 'the dog', topk=1)['hits']
    assert hits[0]['similarity'] == pytest.approx(exact.max(), abs=1e-6)
