"""Predictions and a spawned worker for the classification tests."""

import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from coavt_mm.evaluation import ClassificationMetric

CLASSES = ['bark', 'meow', 'song', 'rain', 'wind', 'horn', 'bell']
META = dict(
    protocol='toy-9',
    manifest='toy.jsonl',
    hash='0123456789ab',
    missing=2,
    classes=CLASSES,
)


def prediction(index, scores, labels, **more) -> BaseDataElement:
    """What the classifier gives for one clip; no scores where ``scores`` is None."""
    meta = dict(sample_idx=index, sample_id=f'clip_{index}')
    sample = BaseDataElement(metainfo=dict(meta, **more))
    sample.gt_label = torch.tensor(labels, dtype=torch.int64)
    if scores is not None:
        sample.set_data(dict(pred_score=torch.as_tensor(scores), pred_stream='AV'))
    return sample


def predictions(clips=9, single=False, seed=0) -> list[BaseDataElement]:
    """Scores with ties; the last class has no clip."""
    g = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 4, (clips, len(CLASSES)), generator=g) / 4
    made = []
    for i in range(clips):
        count = 1 if single else int(torch.randint(1, 4, (), generator=g))
        labels = torch.randperm(len(CLASSES) - 1, generator=g)[:count].tolist()
        made.append(prediction(i, scores[i], labels))
    return made


def evaluate(samples, meta=META, batch=2, size=None, **kwargs):
    """Through mmengine's Evaluator; gives the metric and the flat numbers."""
    evaluator = Evaluator(ClassificationMetric(**kwargs))
    evaluator.dataset_meta = meta
    for start in range(0, len(samples), batch):
        evaluator.process(samples[start : start + batch])
    found = evaluator.evaluate(size or len(samples))
    return evaluator.metrics[0], found


def evaluate_part(rank: int, world_size: int, out: str) -> None:
    """Evaluate every ``world_size``-th of nine clips, padded as a sampler does."""
    samples = predictions()
    collect = f'{out}.collect' if world_size > 1 else None
    evaluator = Evaluator(ClassificationMetric(collect_dir=collect))
    evaluator.dataset_meta = META
    padded = (samples + samples)[: -(-len(samples) // world_size) * world_size]
    for sample in padded[rank::world_size]:  # batches of one
        evaluator.process([sample])
    torch.save(evaluator.evaluate(len(samples)), f'{out}.{rank}')


def evaluate_two(rank: int, out: str) -> None:
    evaluate_part(rank, 2, out)
