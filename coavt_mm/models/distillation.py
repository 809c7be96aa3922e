"""A loss by which another model's features guide this one.

Letters: B clips of this rank, each with one caption; G clips of all ranks; n clips and
P texts of the file; F frames, Q queries, E width, all of the teacher.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from torch import Tensor

from coavt_mm.batches import caption_key, stable_key
from coavt_mm.errors import ConfigError
from coavt_mm.models.layers import gather_with_grad, global_mean
from coavt_mm.models.losses import LossHead, LossInputs, checked_streams
from coavt_mm.models.similarity import texts_for
from coavt_mm.registry import MODELS


@MODELS.register_module()
class TeacherHead(LossHead):
    """Clips and texts of a batch shall be as near as a teacher finds them.

    What is compared are similarities, so that widths and numbers of queries may differ:
    for each clip how probable each text of the batch is, and for each text each clip.
    The loss is the Kullback-Leibler divergence of the contrastive head's answer from
    the teacher's. Clips and captions that the file lacks don't count.

    Args:
        features_file: Features of clips and captions, as ``coavt embed TEACHER
            MANIFEST --captions --out FILE.npz`` writes them. None: of a model that is
            not trained further.
        streams: Weight of each stream. Defaults to ``dict(AV=1)``.
        temperature: Divides the teacher's cosines.
        init_cfg: mmengine's initialisation config.

    Raises:
        ConfigError: The file is missing, of another kind, or lacks a stream.
    """

    def __init__(
        self,
        features_file: str | None = None,
        streams: dict[str, float] | None = None,
        temperature: float = 0.05,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if temperature <= 0:
            raise ConfigError(
                f'TeacherHead: temperature must be above 0, got {temperature}'
            )
        streams = {'AV': 1.0} if streams is None else streams
        self.streams = checked_streams('TeacherHead', streams)
        self.features_file, self.temperature = features_file, temperature
        self._looked = False
        if features_file is not None:
            for name, table in _tables(features_file, self.streams).items():
                self.register_buffer(name, table, persistent=False)

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """``loss_teacher_*`` of each stream; ``taught``, the share of clips with a
        teacher in one of them, to watch."""
        if self.features_file is None:
            raise ConfigError(
                'TeacherHead: features_file is None, so that there is nothing to learn '
                'from; name the file, or set the head to None'
            )
        every = gather_with_grad(torch.stack([batch.clip_key, batch.caption_key], 1))
        losses: dict[str, Tensor] = {}
        taught = torch.zeros_like(batch.clip_key, dtype=torch.bool)
        for stream, weight in self.streams.items():
            clips, has_clip = self._find(f'clips_{stream}', every[:, 0])
            texts, has_text = self._find('texts', every[:, 1])
            texts = texts_for(texts, stream)
            known = batch.all_valid[stream] & has_clip & has_text  # (G,)
            own = _rows_of_this_rank(len(batch.clip_key))
            valid = batch.valid[stream] & known[own]
            taught |= valid
            ours = batch.similarity[stream]
            each = self._divergence(ours.a_to_b, _cosines(clips[own], texts), known)
            each = each + self._divergence(
                ours.b_to_a, _cosines(clips, texts[own]).T, known
            )
            losses[f'loss_teacher_{stream}'] = weight * global_mean(each / 2, valid)
        self._look(taught)
        return {**losses, 'taught': taught.float().mean()}

    def _find(self, name: str, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (G, ...) float32 by their keys, and which are there (G,)."""
        keys, table = getattr(self, f'{name}_keys'), getattr(self, name)
        place = torch.searchsorted(keys, wanted.contiguous())
        place = place.clamp(max=len(keys) - 1)
        return table[place].float(), keys[place] == wanted

    def _divergence(self, ours: Tensor, theirs: Tensor, known: Tensor) -> Tensor:
        """Of logits (B, G) from cosines (B, G): (B,), in nats."""
        with torch.autocast(ours.device.type, enabled=False):
            least = torch.finfo(torch.float32).min
            ours, theirs = (
                x.float().masked_fill(~known, least).log_softmax(1)
                for x in (ours, theirs / self.temperature)
            )
            return F.kl_div(ours, theirs, reduction='none', log_target=True).sum(1)

    def _look(self, taught: Tensor) -> None:
        """Refuse a file of other clips, by the first batch."""
        if self._looked or torch.compiler.is_compiling():
            return
        self._looked = True
        if not taught.any():
            raise ConfigError(
                f'TeacherHead: {self.features_file} has none of the clips of the first '
                'batch with its caption: embed the manifest that is trained on, with '
                '--captions'
            )


def _rows_of_this_rank(size: int) -> slice:
    """Where this rank's clips are among those of all."""
    return slice(get_rank() * size, (get_rank() + 1) * size)


@torch.no_grad()
def _cosines(clips: Tensor, texts: Tensor) -> Tensor:
    """(B, F, Q, E) and (G, E) -> (B, G): the best query's, averaged over frames."""
    with torch.autocast(clips.device.type, enabled=False):
        return torch.einsum('bfqe,ge->bfqg', clips, texts).amax(2).mean(1)


def _tables(path: str, streams: Mapping[str, float]) -> dict[str, Tensor]:
    """Keys, ascending, with features: ``texts``, and ``clips_AV`` and so on."""
    stored = _read(path)
    lacking = [stream for stream in streams if stream not in stored]
    if lacking:
        raise ConfigError(f'TeacherHead: {path} has no features of stream {lacking[0]}')
    order = np.argsort(stored['start'], kind='stable')  # a clip's first window counts
    names = stored['clip'][order].tolist()
    keys = np.array([stable_key(name) for name in names], np.int64)
    tables: dict[str, Tensor] = {}
    for stream in streams:
        feats = stored[stream][order]
        there = np.isfinite(feats).all((1, 2, 3))
        tables |= _sorted(f'clips_{stream}', keys[there], feats[there])
    texts = [caption_key(text) for text in stored['text'].tolist()]
    return tables | _sorted(
        'texts', np.array(texts, np.int64), stored['text_embedding']
    )


def _sorted(name: str, keys: np.ndarray, rows: np.ndarray) -> dict[str, Tensor]:
    keys, first = np.unique(keys, return_index=True)
    found = {f'{name}_keys': keys, name: rows[first]}
    return {key: torch.from_numpy(value) for key, value in found.items()}


def _read(path: str) -> dict[str, Any]:
    how = 'coavt embed TEACHER MANIFEST --captions --out FILE.npz'
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise ConfigError(
            f'TeacherHead: {path} is not there; {how} writes it'
        ) from error
    except (OSError, ValueError, EOFError, AttributeError) as error:
        raise ConfigError(f'TeacherHead: {path} can not be read ({error})') from error
    missing = {'clip', 'start', 'text', 'text_embedding'} - stored.keys()
    if missing or not len(stored['clip']):
        what = f'no {min(missing)}' if missing else 'no clip'
        raise ConfigError(f'TeacherHead: {path} has {what}; {how} writes what it takes')
    return stored
