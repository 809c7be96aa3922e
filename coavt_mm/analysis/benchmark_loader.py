"""The loader's part of the benchmark: how many clips per second it can feed."""

import copy
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.runner import Runner

from coavt_mm.analysis.benchmark_rows import Row
from coavt_mm.analysis.benchmark_steps import Bench
from coavt_mm.streams import CAPTION_FIELDS

WORDS = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '[DEC]', 'a', 'dog', 'barks')
SIZE = 640, 360  # of a rendered picture, pixels
ROWS = 64  # of the manifest
SECONDS = 5.0  # that batches are counted


def feed_rates(bench: Bench) -> Iterator[Row]:
    """The recipe's loader alone, on rendered clips and on shards made of them."""
    try:
        from coavt_mm.analysis.speed import render_clip
        from coavt_mm.preparation.shards import make_shards
    except ImportError as error:
        yield Row('loader', 'clips', note=f'not measured: {error}')
        return
    workers = bench.options.workers
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = [render_clip(folder / f'{i}.mp4', SIZE, i) for i in range(2)]
        captions = {field: ['a dog barks'] for field in CAPTION_FIELDS}
        rows = [
            dict(id=str(i), clip=clips[i % 2].name, **captions) for i in range(ROWS)
        ]
        text = ''.join(json.dumps(row) + '\n' for row in rows)
        (folder / 'train.jsonl').write_text(text, encoding='utf-8')
        (folder / 'vocab.txt').write_text('\n'.join(WORDS) + '\n', encoding='utf-8')
        yield _row(bench, 'files', dict(data_root=name), folder)
        make_shards(folder / 'train.jsonl', folder / 'shards', name, workers=workers)
        shards = dict(type='AVTShardDataset', data_root=str(folder / 'shards'),
                      ann_file='index.jsonl')  # fmt: skip
        yield _row(bench, 'shards', shards, folder)


def _row(bench: Bench, kind: str, dataset: dict[str, Any], folder: Path) -> Row:
    cfg = copy.deepcopy(bench.cfg.train_dataloader)
    cfg.dataset.update(dataset)
    for step in cfg.dataset.pipeline:
        if step['type'] == 'TokenizeText':
            step['tokenizer'] = str(folder / 'vocab.txt')
    workers, clips = bench.options.workers, bench.options.batch
    cfg.update(batch_size=clips, num_workers=workers, persistent_workers=workers > 0)
    batches = iter(Runner.build_dataloader(cfg, seed=0))
    next(batches)  # the workers have started
    began, number = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS or not number:
        next(batches)
        number += 1
    rate = number * clips / (time.perf_counter() - began)
    del batches
    return Row('loader', f'10-s clips of {SIZE[0]}x{SIZE[1]} from {kind}', batch=clips,
               clips_per_s=rate, note=f'{workers} workers')  # fmt: skip
