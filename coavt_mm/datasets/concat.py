"""Several data sets in one training."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from mmengine.dataset import ConcatDataset as _ConcatDataset

from coavt_mm.datasets.dataset import AVTDataset
from coavt_mm.datasets.samplers import SampleRequest, as_request
from coavt_mm.datasets.transforms.audio import LoadAudio
from coavt_mm.datasets.transforms.text import TokenizeText
from coavt_mm.errors import ConfigError
from coavt_mm.registry import DATASETS

COUNTS = ('clips', 'captions', 'missing', 'excluded')
NAMES = ('protocol', 'manifest', 'hash')


@DATASETS.register_module()
class ConcatDataset(_ConcatDataset):
    """The clips of several data sets, one behind the other, for training.

    Each has its own manifest, folder, caption fields, list of what to leave out and
    way with damaged clips. A sampler sees one data set: an epoch is all clips of all of
    them, so that position, curriculum and resuming mean what they mean for one. A data
    set that is named twice is drawn twice as often.

    ``metainfo`` has the keys of ``AVTDataset``: counts are sums, names are joined by
    ' + '. Where the class lists differ there are no ``classes``, and samples have no
    ``gt_label``.

    Args:
        datasets: The data sets, or their configs: ``AVTDataset`` or classes derived
            from it.

    Raises:
        ConfigError: If there is none, one is of another kind or for evaluation, or
            their pipelines have different tokenizers or sample rates.
    """

    datasets: list[AVTDataset]

    def __init__(self, datasets: Sequence[AVTDataset | dict]):
        if not datasets:
            raise ConfigError('ConcatDataset: datasets is empty')
        built = [DATASETS.build(x) if isinstance(x, dict) else x for x in datasets]
        for number, dataset in enumerate(built):
            _check(number, dataset)
        differing = {key for dataset in built for key in dataset.metainfo}
        super().__init__(built, ignore_keys=[*differing])
        for number, (one, other) in enumerate(pairwise(map(_of_pipeline, built))):
            _compare(number, one, other)

    @property
    def metainfo(self) -> dict:
        """What is known of all of them."""
        every = [dataset.metainfo for dataset in self.datasets]
        merged: dict[str, Any] = {key: sum(x[key] for x in every) for key in COUNTS}
        merged.update({key: ' + '.join(str(x[key]) for x in every) for key in NAMES})
        merged['missing_ids'] = [name for x in every for name in x['missing_ids']]
        return dict(merged, classes=self._classes(), ceilings=None)

    def _classes(self) -> Sequence[str] | None:
        first, *others = [dataset.classes for dataset in self.datasets]
        shared = first is not None and all(
            x is not None and [*x] == [*first] for x in others
        )
        return first if shared else None

    @property
    def bad_ids(self) -> list[str]:
        """Ids of the clips found bad so far, by any worker of this process."""
        return [name for dataset in self.datasets for name in dataset.bad_ids]

    @property
    def shard_numbers(self) -> torch.Tensor:
        """(N,) int64, the shard that each sample lies in, counted over all of them.

        Raises:
            ConfigError: If one reads files and no shards.
        """
        found: list[torch.Tensor] = []
        for number, dataset in enumerate(self.datasets):
            own = getattr(dataset, 'shard_numbers', None)
            if own is None:
                raise ConfigError(
                    f'ConcatDataset: data set {number} reads files and no shards; take '
                    'ResumableSampler, which takes both'
                )
            found.append(own + (found[-1].max() + 1 if found else 0))
        return torch.cat(found)

    def __getitem__(self, item: int | tuple | list) -> dict:
        """Make a sample, see :class:`.AVTDataset`.

        Args:
            item: Index over all data sets, or a sampler's request.
        """
        asked = as_request(item)
        which, own = self._get_ori_dataset_idx(asked.index)
        request = SampleRequest(own, asked.seed, asked.epoch, asked.stage)
        sample = self.datasets[which][request]
        if self._classes() is None and 'data_samples' in sample:
            sample['data_samples'].pop('gt_label', None)
        return sample


def _check(number: int, dataset: Any) -> None:
    if not isinstance(dataset, AVTDataset):
        raise ConfigError(
            f'ConcatDataset: data set {number} is a {type(dataset).__name__}, which '
            'knows no requests of samplers; derive it from AVTDataset'
        )
    if dataset.test_mode:
        raise ConfigError(
            f'ConcatDataset: data set {number} has test_mode=True; evaluate one data '
            'set at a time, since results say which clips they are of'
        )


def _of_pipeline(dataset: AVTDataset) -> dict[str, Any]:
    """What all clips of a batch must have in common, by name."""
    found: dict[str, Any] = {}
    for step in dataset.pipeline.transforms:
        if isinstance(step, TokenizeText):
            found[f'TokenizeText.tokenizer for {step.key}'] = step.name
        if isinstance(step, LoadAudio):
            found['LoadAudio.sample_rate'] = step.sample_rate
    return found


def _compare(number: int, one: dict, other: dict) -> None:
    for name in {**one, **other}:
        if one.get(name) != other.get(name):
            raise ConfigError(
                f'ConcatDataset: data sets {number} and {number + 1} can not be mixed: '
                f'{name} is {one.get(name)!r} and {other.get(name)!r}'
            )
