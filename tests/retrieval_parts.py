"""Predictions, a model and a spawned worker for the retrieval tests."""

import logging
from pathlib import Path
from types import SimpleNamespace

import torch
from mmengine.dist import get_rank
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import BaseDataElement
from torch.nn.functional import normalize

from coavt_mm.errors import CoAVTError
from coavt_mm.evaluation import RetrievalMetric
from coavt_mm.evaluation import pairs as judging
from coavt_mm.evaluation.ranking import StreamFeatures
from coavt_mm.evaluation.retrieval import all_captions, stream_features


class TableModel(torch.nn.Module):
    """Looks the matching logit up; clip and caption numbers are in the inputs."""

    matching_head = SimpleNamespace(similarity_weight=1.0)

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(table)  # (clips, captions)
        self.pairs = self.projected = 0
        self.clips = set()

    def project_context(self, tokens):
        assert tokens.dim() == 3
        self.clips |= set(tokens[:, 0, 0].int().tolist())
        self.projected += len(tokens)
        return [None, (tokens, tokens)]

    def match_context(self, context, input_ids, attention_mask):
        assert attention_mask.shape == input_ids.shape
        assert not input_ids[attention_mask == 0].any()
        nothing, (keys, _) = context
        assert nothing is None
        assert len(keys) == len(input_ids)
        self.pairs += len(keys)
        logit = self.table[keys[:, 0, 0].long(), input_ids[:, 1]]
        return torch.stack([-logit, logit], 1)


def make_samples(
    counts: list[int],
    seed: int = 0,
    shape: tuple[int, int, int] = (2, 3, 5),
    integers: bool = False,
    lacking: dict[int, str] | None = None,
) -> list[dict]:
    """Predictions for clips with ``counts`` captions each, texts 'text 0', ...

    Args:
        counts: Captions of each clip.
        seed: Of the features.
        shape: F, Q, E.
        integers: Small whole numbers, so that scores tie exactly.
        lacking: Clip -> the only stream that it has ('A' or 'V'), or '' for none.
    """
    g = torch.Generator().manual_seed(seed)

    def draw(*size):
        if integers:
            return torch.randint(-1, 2, size, generator=g).float()
        return normalize(torch.randn(*size, generator=g), dim=-1)

    samples, caption = [], 0
    for i, count in enumerate(counts):
        feats = {stream: draw(*shape) for stream in ('AV', 'A', 'V')}
        only = (lacking or {}).get(i)
        if only is not None:
            feats = {s: f for s, f in feats.items() if s == only}
        numbers = range(caption, caption + count)
        caption += count
        samples.append(
            dict(
                sample_idx=i,
                sample_id=f'clip_{i}',
                texts=[f'text {n}' for n in numbers],
                text_streams=[('AV', 'A', 'AV', 'V')[n % 4] for n in numbers],
                clip_feats=feats,
                caption_feats=draw(count, shape[-1]),
                tokens=torch.full((shape[0], 2, 4), float(i)),
                caption_ids=[torch.tensor([101, n] + [7] * (n % 3)) for n in numbers],
            )
        )
    return samples


def gather_stream(samples: list[dict], stream: str) -> StreamFeatures | None:
    return stream_features(samples, stream, all_captions(samples))


def slow_table(features: StreamFeatures) -> list[list[float]]:
    """Similarities by loops: [caption][clip]."""
    table = []
    for caption in features.queries[features.index]:
        row = []
        for clip in features.gallery:
            best = [max((q @ caption).item() for q in frame) for frame in clip]
            row.append(sum(best) / len(best))
        table.append(row)
    return table


def as_element(sample: dict) -> BaseDataElement:
    fields = ('clip_feats', 'caption_feats', 'tokens', 'caption_ids')
    meta = {k: v for k, v in sample.items() if k not in fields}
    return BaseDataElement(metainfo=meta, **{k: sample[k] for k in fields})


def evaluate_part(rank: int, world_size: int, out: str, file: bool = False) -> None:
    """Evaluate every ``world_size``-th of seven clips, padded as a sampler does.

    Args:
        rank: Of this process.
        world_size: Processes.
        out: What is found goes to this path and the rank.
        file: Save the features as well.
    """
    judging.TURN = 2  # several turns
    samples = make_samples([2, 1, 0, 3, 1, 1, 2], integers=True, lacking={4: 'A'})
    samples[5]['texts'] = ['Text  0']  # of two clips
    model = TableModel(torch.arange(70.0).reshape(7, 10).sin())
    metric = RetrievalMetric(
        modes=('cosine', 'matching', 'softmax_product'),
        matching_accuracy=True,
        topk=3,
        match_batch_size=2,
        collect_dir=f'{out}.collect' if world_size > 1 else None,
        features_file=f'{out}.features.pth' if file else None,
    )
    metric.model = model
    shared = RetrievalMetric(
        modes=('cosine', 'query_softmax'),
        equal_texts=True,
        prefix='shared',
        collect_dir=f'{out}.shared' if world_size > 1 else None,
    )
    evaluator = Evaluator([metric, shared])
    length = -(-len(samples) // world_size)
    padded = (samples + samples)[: length * world_size]
    for sample in padded[rank::world_size]:  # batches of one
        evaluator.process([as_element(sample)])
    found = evaluator.evaluate(len(samples))
    torch.save((found, model.pairs, model.clips), f'{out}.{rank}')


def evaluate_two(rank: int, out: str, file: bool) -> None:
    evaluate_part(rank, 2, out, file)


class Failing(TableModel):
    """On the second process it can't be asked."""

    def match_context(self, context, input_ids, attention_mask):
        if get_rank() == 1:
            raise RuntimeError('no memory is left')
        return super().match_context(context, input_ids, attention_mask)


def fail_on_the_second(rank: int, out: str) -> None:
    log = logging.FileHandler(f'{out}.log.{rank}')
    MMLogger.get_current_instance().addHandler(log)
    samples = make_samples([2, 1, 1, 3], seed=rank)[rank::2]
    metric = RetrievalMetric(modes=('matching',), collect_dir=f'{out}.collect')
    metric.model = Failing(torch.zeros(4, 7))
    metric.process({}, [as_element(sample).to_dict() for sample in samples])
    try:
        metric.evaluate(4)
    except CoAVTError as error:
        Path(f'{out}.{rank}').write_text(str(error))
