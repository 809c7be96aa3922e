"""What the page asks: hits, a clip, texts and clips that are near, the map."""

import shutil
import sqlite3

import numpy as np
import pytest

from coavt_mm.errors import InputError, SearchError


@pytest.fixture
def numbers(collection):
    """Name -> number of the clip."""
    points = collection.points()
    return dict(zip(points['names'], points['ids'], strict=True))


def test_hits_are_those_of_the_index(collection):
    from coavt_mm.search import Index

    found = collection.find('a bell rings', topk=4)
    with Index(collection.folder) as index:
        wanted = index.query(collection.model, 'a bell rings', topk=4)['hits']
    for hit, other in zip(found.hits, wanted, strict=True):
        assert (hit['clip'], hit['id']) == (other['clip'], other['id'])
        assert hit['similarity'] == pytest.approx(other['similarity'], abs=1e-6)
        assert hit['found_by'] in ('', 'A', 'V')
    with pytest.raises(InputError, match='at least one'):
        collection.find()


def test_words_that_are_not_known_are_told(collection):
    assert any('☃' in note for note in collection.find('a ☃').notes)
    assert collection.find('a bell').notes == []


def test_what_found_a_clip():
    from coavt_mm.app.finding import _found_by

    usual = dict(A=(0.1, 0.1), V=(0.5, 0.1))
    assert _found_by(dict(AV=0.9, A=0.4, V=0.6), usual) == 'A'  # 3 and 1 deviations
    assert _found_by(dict(AV=0.9, A=0.2, V=0.9), usual) == 'V'
    assert _found_by(dict(AV=0.9, A=0.2, V=0.62), usual) == ''
    assert _found_by(dict(A=0.9), usual) == ''


def test_facts_of_a_clip(collection, numbers):
    question = collection.find('a bell').question
    long = collection.facts(numbers['long <b>.mp4'], question)
    assert long['seconds'] == pytest.approx(1.5, abs=0.1)
    assert [start for start, _ in long['line']] == sorted({s for s, _ in long['line']})
    assert long['place'] == 'clips/long <b>.mp4'
    sound = collection.facts(numbers['sound.m4a'])
    assert (sound['has_sound'], sound['has_picture']) == (True, False)
    assert collection.facts(numbers['0.mp4'])['labels'] == ['bell']
    with pytest.raises(SearchError, match='no longer'):
        collection.facts(999)
    with pytest.raises(SearchError, match='no longer'):
        collection.near(999, 0.0)


def test_near_clips_are_others(collection, numbers):
    near = collection.near(numbers['0.mp4'], 0.0)
    assert len(near) == 5 and numbers['0.mp4'] not in [hit['id'] for hit in near]
    scores = [hit['similarity'] for hit in near]
    assert scores == pytest.approx(sorted(scores, reverse=True), abs=1e-5)


def test_texts_and_captions(collection, numbers):
    ((text, score),) = collection.nearest_texts(numbers['0.mp4'], 0.0)
    hits = collection.find('bell').hits
    (own,) = (hit for hit in hits if hit['id'] == numbers['0.mp4'])
    assert (text, score) == ('bell', pytest.approx(own['similarity'], abs=1e-3))
    captions = collection.captions(numbers['long <b>.mp4'], 0.6)
    assert [caption['start'] for caption in captions] == [0.5, 1.0]
    assert all(isinstance(caption['text'], str) for caption in captions)
    drawing = collection.drawing(numbers['long <b>.mp4'], 0.6, ['bell'])
    assert drawing.startswith(b'\x89PNG')


def test_the_map(collection, numbers):
    points = collection.points('PCA', 'bell')
    assert sorted(points['names'][i] for i, s in enumerate(points['shade']) if s) == [
        '0.mp4', '1.mp4'
    ]  # fmt: skip
    assert len(numbers) == points['all'] == 6
    assert points['legend'].startswith('2 clips')
    question = collection.find('a bell').question
    points = collection.points('PCA', '', question)
    best = points['names'][int(np.argmax(points['shade']))]
    drawn = collection.map.seen
    scores = [
        vector @ question.vector(stream)
        for vector, stream in zip(drawn.vectors, drawn.streams, strict=True)
    ]
    assert best == points['names'][int(np.argmax(scores))]
    assert 'a bell' in points['legend']


def test_axes_are_those_along_which_clips_differ_most():
    from coavt_mm.app.points import flat

    rng = np.random.default_rng(0)
    spread = rng.normal(size=(200, 3)) * (10, 5, 0.1)
    turn = np.linalg.qr(rng.normal(size=(8, 3)))[0]
    places = flat((spread @ turn.T).astype(np.float32))
    assert places.min() == 0 and places.max() == 1
    for axis in (0, 1):
        found = np.corrcoef(places[:, axis], spread[:, axis])[0, 1]
        assert abs(found) > 0.99
    assert (flat(spread) == flat(spread)).all()
    assert flat(spread[:2]).shape == (2, 2) and flat(spread[:0]).shape == (0, 2)


def test_a_map_of_many_draws_some(collection, monkeypatch):
    from coavt_mm.app import points
    from coavt_mm.app.points import Map

    monkeypatch.setattr(points, 'MOST', 4)
    few = collection._done(Map(collection.index).clips)
    assert (len(few.ids), few.all) == (4, 6)


def test_a_long_clip_counts_by_some_of_its_windows(collection, monkeypatch):
    from coavt_mm.app import vectors

    def found():
        rows = collection.index.catalogue.rows('SELECT clip, id FROM windows')
        chosen = [*vectors._windows(collection.index, [clip for clip, _ in rows])]
        return rows, chosen, vectors.clip_vectors(collection.index, [rows[0][0]])

    rows, chosen, (_, whole, _) = collection._done(found)
    assert {(clip, id_) for clip, id_, _ in chosen} == {*rows}
    assert np.linalg.norm(whole) == pytest.approx(1)
    monkeypatch.setattr(vectors, 'MOST_WINDOWS', 2)
    _, some, _ = collection._done(found)
    clips = [clip for clip, _, _ in some]
    assert len(some) < len(rows) and max(map(clips.count, clips)) == 2


def test_a_name_that_is_no_utf_8_is_on_the_map(collection, tmp_path):
    import orjson  # Gradio's

    from coavt_mm.app.points import Map
    from coavt_mm.search import Index

    shutil.copytree(collection.folder, tmp_path / 'index')
    with sqlite3.connect(tmp_path / 'index/catalogue.sqlite') as db:
        db.execute('UPDATE clips SET path = ? WHERE id = 1', (b'/a/b\xff.mp4',))
        db.execute('UPDATE clips SET path = ? WHERE id = 2', (b'/a/b.png',))
    db.close()
    with Index(tmp_path / 'index') as index:
        map_ = Map(index)
        clips = map_.clips()
        points = map_.points(clips, map_.places(clips))
    assert points['names'][0] == 'b\\xff.mp4'
    orjson.dumps(points)  # as Gradio does
    sound = next(i for i, name in enumerate(points['names']) if name == 'sound.m4a')
    assert points['kinds'] == {'2': 'img', str(points['ids'][sound]): 'audio'}


def test_a_map_by_umap(collection):
    """Clips that are alike lie together, the same each time."""
    pytest.importorskip('umap', reason='umap-learn is not installed')
    from coavt_mm.app.points import flat, methods

    assert methods() == ['PCA', 'UMAP']
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(4, 16)), 30, 0)
    vectors = (centres + 0.1 * rng.normal(size=centres.shape)).astype(np.float32)
    places = flat(vectors, 'UMAP')
    assert places.shape == (120, 2) and places.min() == 0 and places.max() == 1
    far = np.linalg.norm(places[:, None] - places[None], axis=-1)
    same = np.repeat(np.arange(4), 30)
    same = same[:, None] == same[None]
    assert far[same].max() < far[~same].min()
    assert (flat(vectors, 'UMAP') == places).all()
    few = collection.points('UMAP')  # of six there is no neighbourhood
    assert few['x'] == collection.points('PCA')['x']


def test_a_map_without_umap(monkeypatch):
    import sys

    from coavt_mm.app import points

    monkeypatch.setitem(sys.modules, 'umap', None)
    with pytest.raises(SearchError, match='umap-learn can not be loaded'):
        points.flat(np.eye(20, dtype=np.float32), 'UMAP')


def test_hits_are_ranked_anew_by_matching(collection):
    from coavt_mm.search import Index

    found = collection.find('a bell rings', topk=4, rerank=3)
    with Index(collection.folder) as index:
        wanted = index.query(collection.model, 'a bell rings', topk=4, rerank=3)['hits']
    assert [hit['id'] for hit in found.hits] == [hit['id'] for hit in wanted]
    logits = [hit.get('match_logit') for hit in found.hits]
    assert logits == pytest.approx([hit.get('match_logit') for hit in wanted])
    assert logits[3] is None and None not in logits[:3]
    html = cards_of(found.hits)
    assert html.count('class="match"') == 3 and f'{logits[0]:+.2f}' in html
    clip = wanted[0]['clip']
    assert 'Not re-ranked' in collection.find(clip=clip, rerank=3).notes[0]


def cards_of(hits):
    from coavt_mm.app import cards

    return cards.cards(hits)


def test_times():
    from coavt_mm.app.cards import clock

    told = [clock(x) for x in (0, 4.24, 59.96, 60, 185.9, 3723)]
    assert told == ['0.0 s', '4.2 s', '1:00', '1:00', '3:05', '1:02:03']


def test_whatever_a_name_is_it_is_only_text(collection):
    from coavt_mm.app import cards, clip_cards

    evil = '"><img src=x onerror=alert(1)>\u202e'
    found = collection.find('a bell')
    hits = [dict(hit, name=evil, clip=f'/{evil}') for hit in found.hits]
    clip = collection.facts(hits[0]['id'], found.question)
    clip.update(name=evil, labels=[evil], place=evil)
    captions = [dict(text=evil, start=0.0, end=1.0)] * 2
    for html in (
        cards.cards(hits, [evil], evil), cards.complaint(evil),
        clip_cards.clip_head(clip, 0.0), clip_cards.says(captions, [(evil, 0.5)]),
        clip_cards.neighbours(hits), clip_cards.drawn(b'', clip),
    ):  # fmt: skip
        assert '<img src=x' not in html and '\u202e' not in html


def test_uploads_that_are_not_used_any_more_go(tmp_path):
    from coavt_mm.app.uploads import Uploads

    outside = tmp_path / 'outside'
    outside.write_text('')
    folder = tmp_path / 'uploads'
    paths = [folder / name / 'a.wav' for name in 'abc']
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text('')
    uploads = Uploads(folder)
    uploads.keep('one', [paths[0], None, outside])
    uploads.keep('two', [paths[1]])
    uploads.keep('one', [paths[2]])
    assert [path.exists() for path in paths] == [False, True, True]
    uploads.keep('one', [])
    uploads.keep('two', [])
    assert not any(path.exists() for path in paths) and outside.exists()
