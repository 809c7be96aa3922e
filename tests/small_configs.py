"""Any config of the project made small: a step of it takes a second on two cores.

What is shrunk is found by the `type` of the parts, wherever they stand in a config;
the pipelines, heads, losses, samplers, hooks, loops and metrics stay as they ship.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

WIDTH, SIDE, FRAMES, VOCAB = 16, 32, 32, 200  # SIDE in pixels, FRAMES of 10 ms
SIZES = {
    'AVTDataPreprocessor': dict(spec_frames=FRAMES, logmel=dict(num_mel_bins=128)),
    'ClassificationHead': dict(embed_dims=WIDTH),
    'ContrastiveHead': dict(embed_dims=WIDTH, text_dims=WIDTH, proj_dims=8),
    'JointAVEncoder': dict(
        embed_dims=WIDTH,
        num_heads=2,
        depths=(1, 1, 1),
        spec_size=(FRAMES, 128),
        img_size=SIDE,
    ),
    'OnePassAVEncoder': dict(
        embed_dims=WIDTH,
        num_heads=2,
        depths=(1, 1, 1),
        spec_size=(FRAMES, 128),
        img_size=SIDE,
    ),
    'LanguageModelingHead': dict(
        embed_dims=WIDTH, vocab_size=VOCAB, dec_token_id=5, end_token_id=3
    ),
    'MatchingHead': dict(embed_dims=WIDTH),
    'QueryEncoder': dict(
        embed_dims=WIDTH,
        num_heads=2,
        depth=2,
        hidden_dims=WIDTH,
        context_dims=WIDTH,
        vocab_size=VOCAB,
    ),
    'TextEncoder': dict(
        pretrained=None,
        vocab_size=None,
        config=dict(
            vocab_size=VOCAB,
            hidden_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=WIDTH,
            max_position_embeddings=64,
        ),
    ),
    'CaptionMetric': dict(tokenizer='words'),  # without Java
    'EpochAverageHook': dict(begin=1, end=1),
    'LoadAudio': dict(seconds=FRAMES / 100),
}
RESIZE = dict(
    type='IfVisual',
    transforms=[dict(type='mmaction.Resize', scale=(SIDE, SIDE), keep_ratio=False)],
)


def parts(node) -> Iterator[dict]:
    """All dictionaries with a `type` inside a config, each before its own parts."""
    if isinstance(node, dict):
        if isinstance(node.get('type'), str):
            yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            yield from parts(value)


def part_name(part: dict) -> str:
    """The type without its scope."""
    return part['type'].rsplit('.', 1)[-1]


def _other_labels(root: Path, number: int) -> Path:
    """The manifests with one label of 'class 0' ... 'class <number - 1>' a clip."""
    folder = root / f'{number}_classes'
    folder.mkdir(exist_ok=True)
    for path in root.glob('*.jsonl'):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for i, row in enumerate(rows):
            row['labels'] = [f'class {i % number}']
        lines = [json.dumps(row) for row in rows]
        (folder / path.name).write_text('\n'.join(lines) + '\n')
        about = dict(classes=[f'class {i}' for i in range(number)], protocol='small')
        (folder / f'{path.stem}.meta.json').write_text(json.dumps(about))
    return folder


def manifests(loader: dict) -> list[dict]:
    """The data sets of a loader, one a manifest."""
    return [part for part in parts(loader['dataset']) if 'ann_file' in part]


def _shrink_loader(loader: dict, manifest: Path, root: Path) -> None:
    loader.update(batch_size=4, num_workers=0)  # what workers have may stay
    loader.pop('pin_memory', None)
    for dataset in manifests(loader):
        _shrink_dataset(dataset, manifest, root)


def _shrink_dataset(dataset: dict, manifest: Path, root: Path) -> None:
    dataset.update(ann_file=str(manifest), data_root=str(root))
    dataset.pop('exclude', None)
    for part in parts(dataset['pipeline']):
        if part_name(part) == 'TokenizeText':
            part['tokenizer'] = str(root / 'vocab.txt')
    steps = [*dataset['pipeline']]
    pack = next(i for i, step in enumerate(steps) if step['type'] == 'PackAVTInputs')
    dataset['pipeline'] = [*steps[:pack], RESIZE, *steps[pack:]]


def small(path: Path, root: Path, work_dir: Path) -> Config:
    """The config of a file for the demo clips in ``root``.

    Args:
        path: The config.
        root: Rendered demo clips, with train, val and test manifests.
        work_dir: Where all that the run writes goes.
    """
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(
        dict(
            work_dir=str(work_dir),
            launcher='none',
            load_from=None,
            visualizer=dict(vis_backends=[dict(type='LocalVisBackend')]),
            train_cfg=dict(val_begin=2),
        )
    )
    cfg.train_cfg['max_iters' if 'max_iters' in cfg.train_cfg else 'max_epochs'] = 1
    roots = [dataset['data_root'] for dataset in manifests(cfg.train_dataloader)]
    at_home = 'sounding_shapes' in roots[0]
    for part in parts(cfg._cfg_dict):
        part.update(SIZES.get(part_name(part), {}))
        part.pop('init_cfg', None)
        for key in {'out_dir', 'out_file', 'features_file'} & part.keys():
            part[key] = str(work_dir / Path(part[key]).name)
        if 'plots' in part:
            part['plots'] = False
    if 'tokenizer' in cfg.model:
        cfg.model.tokenizer = str(root / 'vocab.txt')
    classes = cfg.model.get('head', {}).get('num_classes', 5)
    folder = root if at_home else _other_labels(root, classes)
    for name in ('train', 'val', 'test'):
        if (loader := cfg[f'{name}_dataloader']) is not None:
            _shrink_loader(loader, folder / f'{name}.jsonl', root)
    cfg.train_dataloader.num_batch_per_epoch = 1
    return cfg
