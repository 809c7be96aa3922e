"""What the ranks of the tests of exchanged rows run; imported there, so importable."""

import os
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from tiny_coavt import HEADS, odd_batch, samples, tiny_coavt
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from coavt_mm.compat import init_cpu_process_group
from coavt_mm.engine.running import DataFirst
from coavt_mm.models.exchange import fetch_rows
from coavt_mm.models.layers import gather_with_grad

B = 3
#: What each rank asks for: the same row twice, its own, fewer than it has.
ASKED = [[4, 4, 0], [5], [2, 0]]


class Received:
    """Counts the numbers that each collective hands to this rank."""

    def __init__(self):
        self.exchanged, self.gathered = [], []

    def __enter__(self):
        self.kept = dist.all_gather, dist.all_to_all_single
        dist.all_gather, dist.all_to_all_single = self._gather, self._exchange
        return self

    def __exit__(self, *_):
        dist.all_gather, dist.all_to_all_single = self.kept

    def _gather(self, parts, x, **kwargs):
        self.gathered.append(x.numel())
        return self.kept[0](parts, x, **kwargs)

    def _exchange(self, come, *args):
        self.exchanged.append(come.numel())
        return self.kept[1](come, *args)


def fetch_worker(rank: int, out: str) -> None:
    """Rows and gradients by both ways, and what was sent."""
    index = torch.tensor(ASKED[rank])

    def gather(x):
        return gather_with_grad(x).index_select(0, index)

    def fetch(x):
        return fetch_rows(x, index)

    results, received = [], Received()
    with received:
        for way in (gather, fetch):
            torch.manual_seed(rank)
            x = torch.randn(B, 2, 5, requires_grad=True)
            rows = way(x)
            (rows * torch.randn_like(rows)).sum().backward()
            results.append((rows.detach(), x.grad))
    with torch.autocast('cpu', torch.bfloat16):
        results.append((fetch(x).detach(), gather(x.bfloat16()).float().detach()))
    torch.save((results, received.exchanged, received.gathered), f'{out}.{rank}')


def step_worker(rank: int, out: str) -> None:
    """A step of all losses in which clips lack a modality, with what it sends."""
    model, batch = tiny_coavt(**HEADS), odd_batch(['mixed', 'all'][rank])
    model.data_preprocessor.front_end = SimpleNamespace(num_frames=lambda x: x)
    described = [
        BaseDataElement(
            has_audio=bool(hears), has_visual=bool(sees), audio_samples=9,
            text_streams=[about],
        )
        for hears, sees, about in zip(
            batch['has_audio'], batch['has_visual'],
            ['AV', 'AV', 'AV', ['AV', 'A'][rank == 0], 'AV'], strict=True,
        )
    ]  # fmt: skip
    with Received() as received:
        losses = model(batch, described, mode='loss')
        sum(x for name, x in losses.items() if 'loss' in name).backward()
    grads = [p.grad.isfinite().all() for p in model.parameters() if p.grad is not None]
    fine = all(x.isfinite() for x in losses.values()) and all(grads)
    logged = {name: float(x) for name, x in model.parse_losses(losses)[1].items()}
    torch.save((fine, logged, received.exchanged, received.gathered), f'{out}.{rank}')


class Way(DataFirst, Runner):
    """Wraps models as ours do."""


def wrapper_worker(rank: int, config: str, out: str) -> None:
    """Gradients of a model whose wrapper comes from a config, by the Runner's way."""
    os.environ['LOCAL_RANK'] = str(rank)
    cfg = Config.fromfile(config)
    cfg.launcher = 'pytorch'
    init_cpu_process_group(cfg)
    grads = []
    for wrapper in (None, cfg.model_wrapper_cfg):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 1))
        if wrapper is None:
            model = DistributedDataParallel(model)
        else:
            runner = Way.__new__(Way)
            runner.cfg, runner._distributed = cfg, True
            model = runner.wrap_model(wrapper, model)
        model(torch.full((1, 40), rank + 1.0)).sum().backward()
        grads.append({name: p.grad for name, p in model.module.named_parameters()})
    views = [grad.untyped_storage().nbytes() for grad in grads[1].values()]
    said = type(model).__name__, model.find_unused_parameters
    torch.save((said, grads, views), f'{out}.{rank}')


def deepspeed_worker(rank: int, out: str) -> None:
    """Weights after three steps of SGD, by DDP, by ZeRO-2 and by ZeRO-3."""
    os.environ.update(DS_ACCELERATOR='cpu', LOCAL_RANK=str(rank), RANK=str(rank))
    os.environ.update(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT='29871')
    import deepspeed  # which looks at them; the group is there already

    batch, weights = odd_batch(['mixed', 'all'][rank]), []
    for stage in (0, 2, 3):
        model = tiny_coavt(**HEADS)
        for parameter in model.parameters():
            parameter.data = parameter.data.reshape(parameter.shape or (1,))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        engine: Any = DistributedDataParallel(model, find_unused_parameters=True)
        if stage:
            options = dict(
                train_micro_batch_size_per_gpu=5,
                gradient_clipping=0.0,
                zero_allow_untested_optimizer=True,
                zero_optimization=dict(stage=stage),
            )
            engine, optimizer, *_ = deepspeed.initialize(
                model=model, optimizer=optimizer, config=options
            )
        for step in range(3):
            torch.manual_seed(step)
            losses = engine(dict(batch), samples(5), mode='loss')
            loss = sum(x for name, x in losses.items() if 'loss' in name)
            engine.backward(loss) if stage else loss.backward()
            (engine if stage else optimizer).step()
            if not stage:
                optimizer.zero_grad()
        named = [*model.named_parameters()]
        with deepspeed.zero.GatheredParameters([p for _, p in named]):
            weights.append({name: p.detach().clone() for name, p in named})
    torch.save(weights, f'{out}.{rank}')
