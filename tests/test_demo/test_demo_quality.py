"""What the demo's checkpoint does on clips that were rendered anew."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coavt_mm.apis import CoAVTInferencer, caption, embed, retrieve
from coavt_mm.datasets import AVTDataset
from coavt_mm.datasets.manifest import write_manifest
from coavt_mm.demo import Settings
from coavt_mm.demo.making import manifest_rows, render_clip
from coavt_mm.demo.metric import attribute_accuracy
from coavt_mm.demo.splits import choose_pairs

CHECKPOINT = Path(__file__).parents[2] / 'work_dirs' / 'demo' / 'checkpoint.pth'
CLIPS = 100

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not CHECKPOINT.is_file(), reason=f'{CHECKPOINT} is not there: run `make demo`'
    ),
]


@pytest.fixture(scope='module')
def model():
    return CoAVTInferencer(weights=CHECKPOINT, show_progress=False)


@pytest.fixture(scope='module')
def rendered(tmp_path_factory):
    """New clips of the demo's test combinations, which training never shows."""
    root = tmp_path_factory.mktemp('rendered')
    default, new = Settings(), Settings(seed=2026)
    sizes = default.train_clips, default.val_clips, default.test_clips
    pairs = choose_pairs(*sizes, seed=default.seed)[2][:CLIPS]
    (root / 'clips').mkdir()
    for index, pair in enumerate(pairs):
        render_clip(('test', index, pair), root, new)
    return root, manifest_rows('test', pairs, new)


def test_texts_find_their_clips(model, rendered):
    root, rows = rendered
    answers = retrieve(
        [row['captions'][0] for row in rows], str(root / 'clips'), topk=1, model=model
    )
    first = [answer['hits'][0]['index'] == i for i, answer in enumerate(answers)]
    print(f'right clip first: {np.mean(first):.3f} of {len(first)}')
    assert np.mean(first) >= 0.8


def test_captions_name_the_attributes(model, rendered):
    root, rows = rendered
    paths = [str(root / row['clip']) for row in rows[:50]]
    written = caption(paths, model=model, batch_size=50)
    shares = attribute_accuracy(
        [answer['captions'][0]['text'] for answer in written],
        [row['captions'] for row in rows[:50]],
    )
    print(f'attributes named rightly: {shares}')
    assert shares['all'] >= 0.8


def test_embeddings_are_what_the_evaluation_extracts(model, rendered):
    root, rows = rendered
    write_manifest(root / 'test.jsonl', rows[:10], {})
    pipeline = [t for t in model.cfg.pipeline if t.type != 'AllCaptions']
    pipeline.insert(-2, dict(type='AllCaptions'))
    dataset = AVTDataset('test.jsonl', str(root), pipeline, test_mode=True)
    with torch.no_grad():
        samples = model.model.test_step(model.collate_fn([*dataset]))
    paths = [str(root / row['clip']) for row in rows[:10]]
    for sample, clip in zip(samples, embed(paths, model=model)['clips'], strict=True):
        for stream, feats in sample.clip_feats.items():
            own = clip['windows'][0]['embeddings'][stream]
            np.testing.assert_allclose(own, feats.cpu().numpy(), atol=1e-5)
