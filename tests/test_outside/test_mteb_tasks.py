"""The demo's clips as tasks of MTEB, and how tasks are run and told of."""

import json
from functools import partial

import numpy as np
import pytest

from coavt_mm.cli.launch import run_tool
from coavt_mm.cli.outside import evaluate_mteb
from coavt_mm.demo import Settings, make_sounding_shapes
from coavt_mm.errors import DatasetMissingError, InputError

pytest.importorskip('mteb', reason='the extra mteb is not installed')
encoders = pytest.importorskip('coavt_mm.outside.mteb_encoder')
runs = pytest.importorskip('coavt_mm.outside.mteb_runs')
tasks = pytest.importorskip('coavt_mm.outside.mteb_tasks')


@pytest.fixture
def encoder(coavt):
    return encoders.CoAVTEncoder(coavt, revision='1')


def queries(coavt, clips):
    """(n, Q, E) of clips of one window, the mean over frames."""
    found = coavt.embed(video=[str(clip) for clip in clips])['clips']
    each = [[w['embeddings']['AV'].mean(0) for w in clip['windows']] for clip in found]
    return np.stack([np.mean(one, 0) for one in each])


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes')
    small = dict(train_clips=1, val_clips=0, size=32, seconds=1.0, fps=4)
    for name, bound in (('free', False), ('bound', True)):
        settings = Settings(test_clips=8, bound=bound, **small)
        make_sounding_shapes(root / name, settings)
    return root


def test_sounding_shapes_as_tasks(encoder, coavt, shapes, tmp_path):
    """Run, kept, and equal to what our own similarity says."""
    made = runs.chosen_tasks(sounding_shapes=shapes / 'free')
    rows = list(runs.run_tasks(encoder, made, tmp_path))
    scores = {row['task']: row for row in rows}
    named = ('T2VA', 'VA2T', 'T2A', 'A2T', 'T2V', 'V2T')
    assert list(scores) == [f'SoundingShapes{name}Retrieval' for name in named]
    kept = {path.stem for path in tmp_path.rglob('Sounding*.json')}
    assert kept == set(scores)
    told = runs.line_of(rows[0])
    assert told.endswith(f'R@1 {100 * rows[0]["R@1"]:.1f}') and ' score ' in told
    rows = [
        json.loads(x) for x in (shapes / 'free/test.jsonl').read_text().splitlines()
    ]
    texts = coavt.texts.embed([row['captions'][0] for row in rows])
    clips = queries(coavt, [shapes / 'free' / row['clip'] for row in rows])
    cosines = (texts @ clips.reshape(-1, clips.shape[-1]).T).reshape(8, 8, -1).max(-1)
    for name, matrix in (('T2VA', cosines), ('VA2T', cosines.T)):
        first = (matrix.argmax(1) == np.arange(8)).mean()
        found = scores[f'SoundingShapes{name}Retrieval']['R@1']
        assert found == pytest.approx(first, abs=1e-4)


def test_what_is_right_in_a_task(shapes):
    """Equal by the factors that both sides show."""
    made = {
        t.metadata.category: t for t in tasks.sounding_shapes_tasks(shapes / 'bound')
    }
    assert list(made)[-2:] == ['a2v', 'v2a']
    rows = [
        json.loads(x) for x in (shapes / 'bound/test.jsonl').read_text().splitlines()
    ]
    for category, factors in (
        ('t2va', slice(None)),
        ('t2a', slice(4, None)),
        ('v2t', slice(4)),
        ('a2v', slice(4, None)),
    ):
        made[category].load_data()
        right = made[category].dataset['default']['test']['relevant_docs']
        for i, row in enumerate(rows):
            wanted = {
                f'd{j}'
                for j, other in enumerate(rows)
                if row['labels'][factors] == other['labels'][factors]
            }
            assert set(right[f'q{i}']) == wanted
    assert made['t2va'].metadata.dataset['revision'].startswith('sounding-shapes-bound')


def test_a_task_that_can_not_be_run(coavt, tmp_path):
    """It costs its own line; what the model has no sense for is not tried."""
    encoder = encoders.CoAVTEncoder(coavt, space='encoder')
    made = runs.chosen_tasks(names=['STS12', 'VGGSoundAVA2VRetrieval'])
    assert len(runs.chosen_tasks('MVEB(v1)')) == 23
    made[1].load_data = lambda **_: 1 / 0
    first, second = map(runs.line_of, runs.run_tasks(encoder, made, tmp_path))
    assert first.endswith('not run: the model takes no text')
    assert 'not run: ' in second and 'division' in second


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (dict(benchmark='MVEBB'), 'mteb does not know it: .*MVEBB'),
        (dict(names=['VGGSoundAVA2V']), 'mteb does not know it: .*VGGSoundAVA2V'),
        ({}, 'name a benchmark, tasks, or a folder'),
    ],
)
def test_wrong_choices(given, message):
    with pytest.raises(InputError, match=message):
        runs.chosen_tasks(**given)


def test_no_clips(tmp_path):
    with pytest.raises(DatasetMissingError, match='coavt prepare sounding-shapes'):
        tasks.sounding_shapes_tasks(tmp_path)


def test_the_command(checkpoint, shapes, tmp_path, capsys):
    """What a user types; one line a task, one line for a mistake."""
    words = [str(checkpoint), '--out', str(tmp_path), '--device', 'cpu']
    words += ['--name', 'me/mine', '--trained-on', 'VGGSoundAVA2VRetrieval']
    shown = shapes / 'free'
    run_tool(partial(evaluate_mteb, [*words, '--sounding-shapes', str(shown)]))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[0].startswith('SoundingShapesT2VARetrieval  ')
    (kept,) = tmp_path.rglob('model_meta.json')
    meta = json.loads(kept.read_text())
    assert meta['name'] == 'me/mine'
    assert meta['training_datasets'] == ['VGGSoundAVA2VRetrieval']
    with pytest.raises(SystemExit):
        run_tool(partial(evaluate_mteb, [*words, '--sounding-shapes', 'nowhere']))
    assert 'manifest test.jsonl is missing' in capsys.readouterr().err
