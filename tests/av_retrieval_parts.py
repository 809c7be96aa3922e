"""Predictions and a spawned worker for the audio-visual retrieval tests."""

import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement
from torch.nn.functional import normalize

from coavt_mm.evaluation import AVRetrievalMetric


def make_samples(number, frames=1, seed=0, lacking=()):
    """Predictions of clips; those in ``lacking`` have a sound only."""
    g = torch.Generator().manual_seed(seed)

    def draw(*size):
        return normalize(torch.randn(*size, generator=g), dim=-1)

    samples = []
    for i in range(number):
        tokens = {'A': draw(1, 6), 'V': draw(frames, 6)}
        queries = {'A': draw(1, 3, 5), 'V': draw(frames, 3, 5)}
        if i in lacking:
            del tokens['V'], queries['V']
        samples.append(
            dict(
                sample_idx=i,
                sample_id=f'clip_{i}',
                token_feats=tokens,
                clip_feats=queries,
            )
        )
    return samples


def as_element(sample):
    return BaseDataElement(
        metainfo={key: sample[key] for key in ('sample_idx', 'sample_id')},
        token_feats=sample['token_feats'],
        clip_feats=sample['clip_feats'],
    )


def evaluate_rank(rank, out):
    """Every second of five clips, padded as a sampler does."""
    samples = make_samples(5, frames=2, lacking=(2,))
    mine = (samples + samples)[:6][rank::2]
    evaluator = Evaluator(AVRetrievalMetric(collect_dir=f'{out}.collect'))
    for sample in mine:
        evaluator.process([as_element(sample)])
    torch.save(evaluator.evaluate(5), f'{out}.{rank}')
