"""A model, a data set and a metric small enough to train in a test."""

import random

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from coavt_mm.errors import ClipError
from coavt_mm.registry import DATASETS, METRICS, MODELS


@DATASETS.register_module()
class ToyDataset(Dataset):
    """Points of a line with noise that belongs to the position in the stream."""

    metainfo = {'name': 'toy'}
    loaded: list[int] = []

    def __init__(self, size: int = 10, broken: int = -1):
        self.size, self.broken = size, broken

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, item) -> dict:
        index, seed, _ = item if isinstance(item, tuple) else (item, 0, None)
        if index == self.broken:
            raise ClipError('clips/7.mp4: cannot be decoded; remove it.')
        self.loaded.append(index)
        noise = random.Random(seed).random()
        return {'x': torch.tensor([index / self.size, noise]), 'y': float(index)}


@MODELS.register_module()
class ToyModel(BaseModel):
    """One hidden layer with dropout."""

    def __init__(self, width: int = 4, dropout: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.Dropout(dropout), nn.Linear(width, 1)
        )
        self.seen_dtypes = set()

    def forward(self, x, y, mode: str = 'tensor'):
        out = self.layers(torch.stack(x))
        self.seen_dtypes.add(out.dtype)
        if mode == 'loss':
            target = torch.as_tensor(y, device=out.device)[:, None]
            return {'loss': (out.float() - target).square().mean()}
        return list(out)


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """Counts samples, and remembers the model that it was handed."""

    def __init__(self, bonus: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.model = None
        self.bonus = bonus

    def process(self, data_batch, data_samples) -> None:
        self.results.extend(data_samples)

    def compute_metrics(self, results) -> dict:
        return {'count': len(results), 'shared': float(self.model is not None)}
