"""An answer depends on the clip and the text alone: not on batch, order or threads."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny_apis
import torch

from coavt_mm.apis import CoAVTInferencer, caption, classify, embed, match, retrieve
from coavt_mm.models.similarity import tied_order

RATE = 16000
TEXTS = [
    'dog', 'the dog barks', 'a', 'the the the the the the dog , the dog .', 'b c',
    'barks , barks and barks again and again until nobody listens any more',
]  # fmt: skip


def wave(seconds, kind, rng):
    """A tone, a loud low one beside a faint high one, noise, silence, an offset."""
    time = np.arange(round(seconds * RATE)) / RATE
    sound = {
        'tone': 0.5 * np.sin(2750 * time),
        'two': 0.9 * np.sin(300 * time) + 1e-4 * np.sin(40_000 * time),
        'noise': rng.normal(0, 0.1, len(time)),
        'silence': 0 * time,
        'offset': 0.3 + 0.1 * np.sin(5000 * time),
    }[kind]
    return sound.astype(np.float32), RATE


@pytest.fixture(scope='module')
def mixed():
    """Clips of many lengths, some of several windows, some of one modality."""
    rng = np.random.default_rng(0)

    def film(frames):
        return rng.integers(0, 255, (frames, 40, 50, 3), np.uint8)

    clips = [{'audio': wave(s, k, rng)} for s, k in [(0.5, 'tone'), (0.03, 'noise')]]
    clips += [{'video': film(n), 'fps': 8} for n in (1, 4, 9)]
    for seconds, kind in (
        (0.5, 'silence'), (0.11, 'tone'), (0.9, 'two'), (0.5, 'offset'), (1.3, 'noise')
    ):  # fmt: skip
        frames = film(max(1, round(8 * seconds)))
        clips.append({'video': frames, 'audio': wave(seconds, kind, rng), 'fps': 8})
    return [dict(clip, name=f'clip {i}') for i, clip in enumerate(clips)]


def numbers(answer):
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple):
        return [x for part in answer for x in numbers(part)]
    if isinstance(answer, np.ndarray):
        return answer.ravel().tolist()
    return [float(answer)] if isinstance(answer, int | float) else []


def by_label(answers):
    """Labels in the order of the alphabet: scores that are equal may change places."""
    return [
        sorted((label['label'], label['score']) for label in answer['labels'])
        for answer in answers
    ]


ANSWERS = {
    'embed': lambda clips, **more: embed(clips, **more)['clips'],
    'match': lambda clips, **more: match(clips, TEXTS, **more),
    'classify': lambda clips, **more: by_label(classify(clips, TEXTS, topk=9, **more)),
    'captions': lambda clips, **more: caption(clips, max_new_tokens=6, **more),
}


@pytest.mark.parametrize('ask', ANSWERS.values(), ids=ANSWERS)
def test_clips_do_not_hear_their_neighbours(ask, coavt, mixed):
    alone = [ask([clip], model=coavt, batch_size=1)[0] for clip in mixed]
    rng = np.random.default_rng(1)
    for batch_size in (1, 2, 3, 5, 64):
        order = rng.permutation(len(mixed))
        found = ask([mixed[i] for i in order], model=coavt, batch_size=batch_size)
        for i, answer in zip(order, found, strict=True):
            np.testing.assert_allclose(
                numbers(answer), numbers(alone[i]), atol=1e-6, rtol=0
            )
            if ask is ANSWERS['captions']:
                assert answer == alone[i]


def test_a_classifiers_scores_do_not_hear_them_either(classifier, mixed):
    alone = [by_label(classify([clip], model=classifier))[0] for clip in mixed]
    for batch_size in (2, 7):
        found = by_label(classify(mixed[::-1], model=classifier, batch_size=batch_size))
        for one, other in zip(alone, found[::-1], strict=True):
            np.testing.assert_allclose(
                [score for _, score in one], [score for _, score in other], atol=1e-6
            )


def test_texts_do_not_read_their_neighbours(coavt, mixed):
    alone = np.stack([coavt.texts.embed([text])[0] for text in TEXTS])
    rng = np.random.default_rng(2)
    for batch_size in (1, 2, 4, 64):
        order = rng.permutation(len(TEXTS))
        found = coavt.texts.embed([TEXTS[i] for i in order], batch_size=batch_size)
        np.testing.assert_allclose(found, alone[order], atol=1e-6, rtol=0)
    wanted = [match(mixed, text, model=coavt) for text in TEXTS]
    together = match(mixed, TEXTS[::-1], model=coavt)
    for k in range(len(TEXTS)):
        for one, other in zip(wanted[k], together, strict=True):
            left, right = one['texts'][0], other['texts'][len(TEXTS) - 1 - k]
            assert left['text'] == right['text']
            assert left['probability'] == pytest.approx(right['probability'], abs=1e-6)
            assert left['start'] == right['start']


# ------------------------------------------------------------------------ ties
def test_scores_apart_go_by_score_and_ties_by_position():
    assert tied_order(np.array([0.1, 0.3, 0.2])).tolist() == [1, 2, 0]
    assert tied_order(np.array([0.1, 0.1 + 9e-7, 0.1])).tolist() == [0, 1, 2]
    assert tied_order(np.array([0.1, 0.1 + 2e-6, 0.1])).tolist() == [1, 0, 2]
    # a chain of small steps: never is one put before another that is 1e-6 better
    scores = np.array([0.0, 0.6e-6, 1.2e-6, 1.8e-6, 2.4e-6])
    assert tied_order(scores).tolist() == [3, 4, 1, 2, 0]
    assert tied_order(np.array([np.nan, 1.0, np.inf, -np.inf])).tolist() == [2, 1, 3, 0]
    assert tied_order(np.array([])).tolist() == []


def test_what_the_order_promises():
    rng = np.random.default_rng(0)
    for _ in range(50):
        true = rng.choice(np.linspace(-1, 1, 40), 100)  # many exact ties
        wanted = np.lexsort((np.arange(100), -true))
        for _ in range(5):
            noisy = true + rng.uniform(-2e-7, 2e-7, 100)
            np.testing.assert_array_equal(tied_order(noisy), wanted)
        close = rng.normal(0, 3e-6, 100)
        ranked = close[tied_order(close)]
        best_after = np.maximum.accumulate(ranked[::-1])[::-1]
        assert (best_after - ranked <= 1e-6).all()


@pytest.mark.parametrize('rerank', [0, 100])
def test_the_same_clip_many_times_stands_in_the_order_given(coavt, mixed, rerank):
    clips = [mixed[i] for i in (0, 5, 0, 7, 5, 0, 9, 5)]
    for given in (clips, clips[::-1]):
        orders = []
        for batch_size in (1, 3, 8):
            answers = retrieve(
                TEXTS, given, model=coavt, batch_size=batch_size, rerank=rerank
            )
            orders.append([[h['index'] for h in a['hits']] for a in answers])
            for hits in orders[-1]:
                for name in ('clip 0', 'clip 5'):
                    own = [i for i in hits if given[i]['name'] == name]
                    assert own == sorted(own)
        assert orders[0] == orders[1] == orders[2]
    same = retrieve(mixed[0], ['dog', 'the', 'dog', 'dog'], model=coavt)[0]['hits']
    dogs = [hit['index'] for hit in same if hit['candidate'] == 'dog']
    assert dogs == [0, 2, 3]


def test_of_equal_windows_the_first_is_named(coavt):
    still = {'video': np.full((24, 40, 50, 3), 90, np.uint8), 'fps': 8}
    for batch_size in (1, 4, 5):
        more = dict(model=coavt, batch_size=batch_size)
        assert len(embed(still, **more)['clips'][0]['windows']) == 6
        (hit,) = retrieve('dog', still, **more)[0]['hits']
        (text,) = match(still, 'dog', **more)[0]['texts']
        assert hit['start'] == text['start'] == 0


def test_equal_labels_stand_in_the_order_given(coavt, mixed):
    labels = ['Dog', 'a', 'dog', 'DOG']  # the vocabulary knows small letters only
    for batch_size in (1, 4):
        for found in classify(mixed, labels, model=coavt, batch_size=batch_size):
            order = [x['label'] for x in found['labels'] if x['label'] != 'a']
            assert order == ['Dog', 'dog', 'DOG']


# --------------------------------------------------------------------- threads
@pytest.fixture(scope='module')
def other(tmp_path_factory, vocabulary):
    """Another model with the same vocabulary: other weights, shorter texts."""
    cfg = tiny_apis.coavt_cfg(vocabulary)
    cfg.test_dataloader.dataset.pipeline[4].max_tokens = 4
    cfg.model.query_encoder.num_queries = 3
    path = tmp_path_factory.mktemp('other') / 'coavt.pth'
    tiny_apis.save(cfg, path)
    return CoAVTInferencer(weights=path, device='cpu', show_progress=False)


@pytest.fixture
def hurried():
    """Threads change places as often as they can, and torch adds none of its own."""
    before = sys.getswitchinterval(), torch.get_num_threads()
    sys.setswitchinterval(1e-5)
    torch.set_num_threads(1)
    yield
    sys.setswitchinterval(before[0])
    torch.set_num_threads(before[1])


def test_two_models_in_threads(coavt, other, mixed, hurried):
    jobs = [
        lambda model: embed(mixed[:6], text=TEXTS, model=model, batch_size=4),
        lambda model: match(mixed[4:8], TEXTS, model=model),
        lambda model: caption(mixed[:4], max_new_tokens=4, model=model),
        lambda model: classify(mixed[2:6], TEXTS, model=model),
        lambda model: retrieve(TEXTS, mixed[3:8], model=model),
        lambda model: model(mixed[5:7], view=True)['predictions'],
        lambda model: view(model, mixed[8]).tolist(),
    ]
    calls = [(job, model) for job in jobs for model in (coavt, other)]
    wanted = [numbers(job(model)) for job, model in calls]
    with ThreadPoolExecutor(6) as pool:
        rounds = [
            (i, pool.submit(calls[i][0], calls[i][1]))
            for _ in range(3)
            for i in range(len(calls))
        ]
        for i, future in rounds:
            np.testing.assert_allclose(
                numbers(future.result()), wanted[i], atol=1e-6, rtol=0
            )


@torch.no_grad()
def view(model, clip):
    """Where the queries look in a clip: (F, layers, Q, N)."""
    found = model(clip, keep_tokens=True)['predictions'][0]['windows'][0]
    tokens = torch.from_numpy(found['tokens']['AV'])
    return model.model.query_encoder.attention_maps(tokens).numpy()


def test_models_may_be_loaded_in_threads(checkpoint, coavt, hurried):
    def load(_):
        model = CoAVTInferencer(weights=checkpoint, device='cpu', show_progress=False)
        return model.texts.embed(['the dog'])

    with ThreadPoolExecutor(4) as pool:
        for feats in pool.map(load, range(8)):
            np.testing.assert_allclose(feats, coavt.texts.embed(['the dog']), atol=1e-6)


@pytest.mark.parametrize(('clips', 'threads'), [(5, {1}), (2, {3}), (1, {3})])
def test_the_reader_has_a_core_to_itself(coavt, short, monkeypatch, clips, threads):
    """Not beside a single batch, which is computed when all is read."""
    seen, forward = set(), type(coavt).forward

    def watched(self, *args, **kwargs):
        seen.add(torch.get_num_threads())
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(coavt), 'forward', watched)
    monkeypatch.setattr('coavt_mm.apis.reading._cores', lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        coavt([short] * clips, batch_size=2)
        assert seen == threads and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
