"""What the ranks of the two-process tests run; imported there, so importable."""

import json
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from small_configs import small
from tiny_coavt import tiny_batch, tiny_coavt
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from coavt_mm.engine import ranks as engine_ranks
from coavt_mm.engine.health import HealthHook
from coavt_mm.engine.optim import OptimWrapper
from coavt_mm.engine.ranks import lost_processes
from coavt_mm.engine.resuming import ResumeHook
from coavt_mm.engine.running import build_runner, set_resume
from coavt_mm.engine.stopping import StopHook
from coavt_mm.engine.weights import FitCheckpointHook
from coavt_mm.errors import CheckpointError, ConfigError, TrainingError
from coavt_mm.models import TeacherHead
from coavt_mm.models.layers import gather_padded, gather_with_grad, global_mean

DEMO = Path(__file__).parents[1] / 'configs' / 'coavt' / 'pretrain_demo.py'


def run_two_ranks(worker: Callable, *args) -> None:
    """Run ``worker(rank, *args)`` in two gloo processes."""
    run_ranks(2, worker, *args)


def run_ranks(count: int, worker: Callable, *args) -> None:
    """Run ``worker(rank, *args)`` in gloo processes, which meet at a file.

    They are forked from a server, which has imported what takes long.
    """
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(
            _in_group,
            args=(count, f'{folder}/store', worker, args),
            nprocs=count,
            start_method='forkserver',
        )


def _in_group(rank: int, count: int, store: str, worker: Callable, args: tuple) -> None:
    dist.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=count
    )
    torch.set_num_threads(1)
    mp.set_start_method('fork', force=True)  # of a loader's workers, as in training
    worker(rank, *args)
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # with torch 2.6 gloo may hang for ever when the group is destroyed


#: Cases of :func:`make_model` with matching.
ALL_LOSSES = ('all', 'in chunks', 'fused')


def make_batch(case: str) -> dict:
    """Eight clips; with all losses matching can draw exactly one negative each.

    The four clips that take part in AV have ids 1, 1, 2, 2 and captions 1, 2, 1, 2:
    each differs from exactly one other in both. With one candidate there is nothing
    to draw, and two ranks must agree with one to the last digit.
    """
    batch = tiny_batch(8)
    if case in ALL_LOSSES:
        batch['clip_key'][[0, 2, 5, 7]] = torch.tensor([1, 1, 2, 2])
        batch['caption_key'][[0, 2, 5, 7]] = torch.tensor([1, 2, 1, 2])
        batch['caption_streams'][1] = torch.tensor([False, True, False])
        batch['caption_streams'][6] = torch.tensor([False, False, True])
        batch['has_visual'][3] = False
        batch['has_audio'][4] = False
    else:
        batch['caption_streams'][1] = torch.tensor([False, False, True])
    return batch


def make_model(case: str):
    every = case in ALL_LOSSES
    matching = dict(type='MatchingHead', embed_dims=20) if every else None
    av = dict(type='AVContrastiveHead', weight=0.5) if every else None
    more = dict(extra_heads=dict(teacher=_teacher())) if case == 'a teacher' else {}
    if case == 'in chunks':
        head = dict(type='SigmoidHead', proj_dims=8, nested_dims=[3])
        more = dict(grad_cache=3, contrastive_head=head)
    if case == 'fused':
        matching.update(similarity_weight=5.0, similarity_offset=0.2)
    return tiny_coavt(matching_head=matching, av_head=av, **more)


def _teacher() -> TeacherHead:
    """One that knows all clips and captions but the last."""
    head, batch = TeacherHead(streams=dict(AV=1.0, V=0.5)), tiny_batch(8)
    head.features_file, draw = 'drawn', torch.Generator().manual_seed(3)
    for name, key in (('texts', 'caption_key'), ('clips_AV', 'clip_key'),
                      ('clips_V', 'clip_key')):  # fmt: skip
        keys = batch[key].unique()[:-1]
        shape = (5,) if name == 'texts' else (2, 3, 5)
        rows = torch.randn(len(keys), *shape, generator=draw)
        head.register_buffer(f'{name}_keys', keys, persistent=False)
        head.register_buffer(name, rows, persistent=False)
    return head


def grads_and_losses(model, batch: dict) -> tuple[dict, dict]:
    losses = model(batch, None, mode='loss')
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    model = getattr(model, 'module', model)
    return {n: p.grad for n, p in model.named_parameters()}, losses


def loss_worker(rank: int, case: str, out: str) -> None:
    batch = {k: v[rank * 4 : rank * 4 + 4] for k, v in make_batch(case).items()}
    width = int(batch['attention_mask'].sum(1).max())  # ranks pad to their own longest
    for key in ('input_ids', 'attention_mask'):
        batch[key] = batch[key][:, :width]
    model = DistributedDataParallel(make_model(case), find_unused_parameters=True)
    grads, losses = grads_and_losses(model, batch)
    for name, value in losses.items():
        losses[name] = value.detach() / 2
        dist.all_reduce(losses[name])
    torch.save((grads, losses), f'{out}.{rank}')


def layers_worker(rank: int, out: str) -> None:
    ragged = torch.full((2, 2 + rank), rank + 1)
    values = torch.tensor([1.0, 2.0, float('inf')]) + rank
    mean = global_mean(values, torch.tensor([True, rank == 0, False]))
    x = torch.tensor([float(rank + 1)], requires_grad=True)
    (gather_with_grad(x) * torch.tensor([1.0, 10.0])).sum().backward()
    # a gradient that arrives transposed, as einsum sends it
    y = torch.zeros(2, 3, requires_grad=True)
    weight = torch.arange(12.0).view(3, 4)
    (gather_with_grad(y).t() * weight * (rank + 1)).sum().backward()
    torch.save((gather_padded(ragged, value=9), mean, x.grad, y.grad), f'{out}.{rank}')


def _loader(kind: str, folder: str, start: int):
    """Two workers a rank, batches of one; ``kind`` names the files."""
    file, sampler = {
        'AVTDataset': ('m.jsonl', 'ResumableSampler'),
        'AVTShardDataset': ('index.jsonl', 'ShardSampler'),
    }[kind]
    pipeline = [
        dict(type='LoadFrames', num_frames=2),
        dict(type='LoadAudio', seconds=0.1),
        dict(type='PickCaption'),
        dict(type='PackAVTInputs'),
    ]
    loader = Runner.build_dataloader(
        dict(
            dataset=dict(
                type=f'coavt_mm.{kind}', ann_file=f'{folder}/{file}', pipeline=pipeline
            ),
            sampler=dict(type=f'coavt_mm.{sampler}', seed=0),
            batch_size=1,
            num_workers=2,
        ),
        seed=0,
    )
    loader.sampler.start = start
    return loader


def epoch_worker(rank: int, folder: str, out: str) -> None:
    """One epoch of ten samples, and what is left of it after the first four."""
    seen = {}
    for kind in ('AVTDataset', 'AVTShardDataset'):
        for start, batches in ((0, 5), (4, 3)):
            loader = iter(_loader(kind, folder, start))
            ids = [next(loader)['data_samples'][0].sample_id for _ in range(batches)]
            seen[kind, start] = ids
    torch.save(seen, f'{out}.{rank}')


@HOOKS.register_module()
class SpyHook(Hook):
    """Notes of each sample: id, text and what it is about; losses and hardness."""

    priority = 'LOWEST'

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        model = getattr(runner.model, 'module', runner.model)
        streams = sorted(model.contrastive_head.streams)
        for sample in data_batch['data_samples']:
            about = (sample.sample_id, *sample.texts, *sample.text_streams)
            self.seen.append((about, streams, round(model.matching_head.hardness, 6)))


def curriculum_worker(rank: int, shapes: str, batch: int, out: str) -> None:
    """40 samples of the demo's curriculum, shortened to stages of an epoch of ten."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = small(DEMO, Path(shapes), Path(folder))
        processes = dist.get_world_size() if dist.is_initialized() else 1
        cfg.train_cfg.max_iters = 40 // (batch * processes)
        cfg.train_dataloader.batch_size = batch
        del cfg.train_dataloader['num_batch_per_epoch']
        for stage in cfg.train_dataloader.sampler.curriculum[:3]:
            stage.epochs = 1
        cfg.train_dataloader.sampler.curriculum[3].group_size = 2
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.custom_hooks = [dict(type='mmengine.SpyHook')]
        cfg.experiment_name = f'curriculum_{processes}_{batch}'
        runner = build_runner(cfg)
        runner.train()
        (spy,) = (hook for hook in runner.hooks if isinstance(hook, SpyHook))
        torch.save(spy.seen, f'{out}.{rank}')


def start_worker(rank, folders, out):
    """Rank 0 finds a checkpoint in its work dir; the other looks into its own."""
    path = f'{folders[0]}/iter_3.pth'
    runner = SimpleNamespace(_load_from=[path, None][rank], _resume=[True, False][rank])
    if folders[1] == 'unreadable' and rank == 1:
        engine_ranks.osp = SimpleNamespace(isfile=lambda path: False)
    try:
        engine_ranks.agree_on_start(runner)
        said = (runner._load_from, runner._resume)
    except CheckpointError as error:
        said = str(error)
    torch.save(said, f'{out}.{rank}')


def folder_worker(rank, folders, out):
    """Two machines, each begun in a folder of its own or both in one."""
    os.chdir(folders[rank])
    engine_ranks.gethostname = lambda: f'host{rank}'
    try:
        engine_ranks.check_shared_folder()
        said = 'fine'
    except ConfigError as error:
        said = str(error)
    torch.save(said, f'{out}.{rank}')


def begin_worker(rank, case, out):
    torch.manual_seed(rank if case == 'weights' else 0)
    step = rank if case == 'iteration' else 5
    runner = SimpleNamespace(model=nn.Linear(3, 2), iter=step)
    try:
        engine_ranks.compare_ranks(runner)
        said = 'fine'
    except CheckpointError as error:
        said = str(error)
    torch.save(said, f'{out}.{rank}')


def stop_worker(rank, config, folder):
    """The second of two processes gets the signal, in its third step."""
    runner, stop = _toy_runner(config, folder), StopHook()
    runner.register_hook(Signalled(at=3 if rank == 1 else -1))
    runner.register_hook(stop)
    try:
        with stop.listening():
            runner.train()
        code = 0
    except SystemExit as end:
        code = end.code
    Path(f'{folder}/ended.{rank}').write_text(f'{code} {runner.iter + 1}')


def _toy_runner(config, folder, **more):
    cfg = Config.fromfile(config)
    cfg.update(work_dir=folder, launcher='none', custom_hooks=[], val_cfg=None)
    cfg.update(val_dataloader=None, val_evaluator=None, **more)
    cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel')
    return build_runner(cfg, ['train_dataloader'])


def freeze_worker(rank, config, folder):
    """The second of two processes is frozen in its third step, or before its flag."""
    dist.destroy_process_group()
    limit = timedelta(seconds=3)
    meet = f'file://{folder}/again'
    dist.init_process_group('gloo', meet, timeout=limit, rank=rank, world_size=2)
    numbers = [torch.zeros(1, dtype=torch.int64) for _ in range(2)]
    dist.all_gather(numbers, torch.tensor([os.getpid()]))
    runner = _toy_runner(config, folder, env_cfg=dict(dist_cfg=dict(timeout=3)))
    runner.register_hook(Signalled(3 if rank == 1 else -1, signal.SIGSTOP))
    runner.register_hook(StopHook())
    since = time.monotonic()
    try:
        with lost_processes():
            runner.train()
    except TrainingError as error:
        took = time.monotonic() - since
        Path(f'{folder}/said').write_text(f'{took:.0f} {error}')
    os.kill(int(numbers[1 - rank]), signal.SIGKILL)


class Signalled(Hook):
    """Sends a signal to its own process, before a step."""

    def __init__(self, at, number=signal.SIGUSR1):
        self.at, self.number = at, number

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.at:
            os.kill(os.getpid(), self.number)


def skip_worker(rank, folder):
    """The loss of the second of two processes is NaN in the second of three steps."""
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(3, 1))
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=0.1))
    said = []
    for step in range(3):
        before = model.module.weight.detach().clone()
        loss = model(torch.ones(2, 3) + rank).mean()
        wrapper.update_params(loss + (math.nan if (rank, step) == (1, 1) else 0.0))
        said.append(
            (bool(wrapper.last_skipped), torch.equal(before, model.module.weight))
        )
    torch.save((said, model.module.weight.detach()), f'{folder}/said.{rank}')


def health_worker(rank, folder, processes=2):
    """What the line on health says of four clips, on this process a part of them."""
    torch.manual_seed(0)
    model, batch = tiny_coavt(), tiny_batch(8)
    own = 8 // processes
    mine = {k: v[rank * own : (rank + 1) * own] for k, v in batch.items()}
    dataset = SimpleNamespace(_bad=SimpleNamespace(counts=torch.zeros(1, 2)))
    runner = SimpleNamespace(
        model=model,
        hooks=[],
        max_iters=1,
        optim_wrapper=None,
        train_dataloader=SimpleNamespace(dataset=dataset),
        message_hub=SimpleNamespace(log_scalars={}),
    )
    hook = HealthHook()
    hook.before_train(runner)
    dataset._bad.counts += torch.tensor([[10.0, 1.0 + rank * 2]]) * 2 / processes
    dataset._bad.counts[0, 1] += 2 * (processes == 1)  # as of both
    model(mine, None, mode='loss')
    hook._answers, hook._steps = [model.watched.answers], 1
    values = hook._read(runner, model.watched)
    Path(f'{folder}/{rank}.json').write_text(json.dumps(values))


def wrapped_worker(rank, shapes, folder, runs):
    """Trains the demo with small sizes, run after run.

    Each is (folder, settings, checkpoint to go on from, or None).
    """
    os.environ['LOCAL_RANK'] = str(rank)
    for name, settings, resume in runs:
        cfg = small(DEMO, Path(shapes), Path(folder, name))
        cfg.train_cfg.update(max_iters=4, val_interval=2)
        cfg.train_dataloader.batch_size = 4
        cfg.default_hooks.checkpoint.interval = 2
        cfg.default_hooks.logger.interval = 2  # and of what is told of health
        cfg.experiment_name, cfg.launcher = name, 'pytorch'
        cfg.visualizer = None
        for key, value in settings.items():
            if '.' in key:
                cfg.merge_from_dict({key: value})
            else:
                cfg[key] = value
        set_resume(cfg, resume and str(Path(folder, resume)))
        runner = build_runner(cfg, ['train_dataloader'])
        runner.register_hook(ResumeHook())
        runner.register_hook(FitCheckpointHook())
        if 'fsdp' in name:
            assert all(isinstance(p, DTensor) for p in runner.model.parameters())
        runner.train()
