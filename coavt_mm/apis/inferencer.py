"""A trained model on one's own clips, in the form of mmengine's inferencers.

Letters: F frames, Q queries, E projected width, N tokens, D width.
"""

import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.infer import BaseInferencer
from mmengine.structures import BaseDataElement
from torch import nn
from tqdm import tqdm

from coavt_mm.apis import retrieval, sound_check, tasks
from coavt_mm.apis.answering import (
    TextReader,
    Window,
    add_features,
    add_scores,
    described,
    joined,
    without_rests,
)
from coavt_mm.apis.drawing import input_drawing, save_page
from coavt_mm.apis.inputs import WINDOWS, Clip, as_clips, check_number
from coavt_mm.apis.listing import is_strict
from coavt_mm.apis.loading import (
    checked_device,
    read_weights,
    shipped_models,
    shipped_weights,
)
from coavt_mm.apis.pipeline import ClipPipeline
from coavt_mm.apis.reading import READER_CORE, ahead, samples
from coavt_mm.checkpoints import load_weights
from coavt_mm.errors import ClipError, ConfigError, InputError, shown
from coavt_mm.models import CoAVT, CoAVTClassifier
from coavt_mm.registry import INFERENCERS, MODELS

# mmengine's registries and default scope belong to the process: one build at a time.
_building = threading.Lock()


@INFERENCERS.register_module()
class CoAVTInferencer(BaseInferencer):
    """Clips in, plain data out: embeddings by stream, class scores, captions, drawings.

    Its methods :meth:`embed`, :meth:`retrieve`, :meth:`classify`, :meth:`caption`,
    :meth:`match`, :meth:`check_sound` and :meth:`visualize` answer what one asks; the
    call gives all that the model says of clips, in mmengine's form.

    Built from a config and a checkpoint, or from a checkpoint alone: its config is
    stored with it as data and never executed. Clips go through the config's own test
    pipeline and the model's preprocessor, so the embedding of a clip is the one that
    the evaluation extracts.

    Args:
        model: Config, its path or its name: one of :meth:`list_models`, or
            ``coavt_mm::coavt/NAME.py``. None takes the config out of the checkpoint.
        weights: Checkpoint (.pth or .safetensors), or a peer: folder or hub id, see
            :class:`~coavt_mm.peers.encoder.PeerEncoder`. None takes the published
            weights of the model that is named.
        device: 'cpu', 'cuda', 'cuda:1'. Default: a GPU where there is one.
        show_progress: Whether to show a bar for several batches, or where one
            takes more than a second.
        isolate: Whether a process beside decodes the clips, see :func:`load_model`.

    Raises:
        InputError: ``model`` or ``weights`` is of a wrong type.
        ConfigError: The config is missing or broken, or there is no such device.
        CheckpointError: The checkpoint is missing, damaged, unsafe, or of another
            config.
    """

    embed = tasks.embed
    retrieve = retrieval.retrieve
    classify = tasks.classify
    caption = tasks.caption
    match = tasks.match
    check_sound = sound_check.check_sound
    visualize = tasks.visualize

    preprocess_kwargs = {'windows'}
    forward_kwargs = {'keep_tokens', 'caption', 'match', 'view'}
    visualize_kwargs = {'out_dir', 'texts'}

    def __init__(
        self,
        model: str | Path | dict | Config | None = None,
        weights: str | Path | None = None,
        device: str | None = None,
        show_progress: bool = True,
        isolate: bool = False,
    ):
        self.isolate = isolate
        if weights is None and isinstance(model, str):
            weights = shipped_weights(model)
        if not isinstance(weights, str | os.PathLike):
            raise InputError(
                'weights must be the path of a checkpoint, not a '
                f'{type(weights).__name__}'
            )
        weights = os.fspath(weights)
        with _building:
            self._checkpoint, found = read_weights(model, weights)
            cfg = ConfigDict(found)
            device = checked_device(device)
            super().__init__(cfg, weights, device, 'coavt_mm', show_progress)
            del self._checkpoint
        self.texts = TextReader(self.model, self.pipeline.tokenizers)

    @staticmethod
    def list_models(scope: str | None = None, patterns: str = '.*') -> list[str]:
        """Name the models whose configs come with the package.

        Args:
            scope: Other packages than this one's are asked as mmengine does.
            patterns: Regular expression that the names begin with.
        """
        if scope not in (None, 'coavt_mm'):
            return BaseInferencer.list_models(scope, patterns)
        return [name for name in shipped_models() if re.match(patterns, name)]

    def _init_model(self, cfg: ConfigDict, weights: str, device: str) -> nn.Module:
        model = MODELS.build(cfg.model)
        if self._checkpoint is not None:
            if not isinstance(model, CoAVT | CoAVTClassifier):
                raise ConfigError(
                    f'{weights} is a {type(model).__name__}; this takes CoAVT and '
                    'CoAVTClassifier'
                )
            load_weights(self._checkpoint, model)
        return model.to(device).eval()

    def _init_pipeline(self, cfg: ConfigDict) -> ClipPipeline:
        if self._checkpoint is None:
            return ClipPipeline(self.model.pipeline, None)
        encoder = getattr(self.model, 'av_encoder', None) or self.model.backbone
        return ClipPipeline(cfg.pipeline, encoder.img_size)

    def _init_collate(self, cfg: ConfigDict) -> Callable:
        return pseudo_collate

    def _init_visualizer(self, cfg: ConfigDict) -> None:
        """Build none: ``coavt_mm.visualization`` draws."""

    @property
    def seconds(self) -> float:
        """The length of a window, in s."""
        seconds = self.pipeline.seconds or getattr(self.model, 'seconds', None)
        return seconds or self.model.data_preprocessor.front_end.seconds

    def __call__(
        self,
        inputs: Any = None,
        audio: Any = None,
        return_datasamples: bool = False,
        batch_size: int = WINDOWS,
        on_error: str | None = None,
        **kwargs,
    ) -> dict:
        """Run clips through the model.

        Args:
            inputs: A clip or several: paths, addresses that fsspec reads, bytes, frames
                (F, H, W, 3) uint8, dicts with ``video``, ``audio``, ``name``, ``fps``,
                ``start``, ``end`` (frames per second, s), a folder, a manifest
                (.jsonl), or a list of these.
            audio: Sound alone, or the sound of ``inputs``: paths, addresses, bytes, or
                pairs (waveform (S,) or (C, S) float, rate in Hz).
            return_datasamples: Whether to return BaseDataElements.
            batch_size: Windows that go through the model at once.
            on_error: What becomes of a clip that can't be read: 'raise' ends the call,
                'keep' gives it an entry with ``error`` in place of an answer. Default:
                'raise' for a single clip, 'keep' for a list, a folder and a manifest.
            **kwargs: ``windows`` (bool): see :func:`~coavt_mm.apis.tasks.embed`;
                ``keep_tokens`` (bool): add each stream's tokens (F, N, D);
                ``caption`` (dict): arguments of ``Decoding``, writes captions;
                ``match`` (of ``texts.pairs``, or a list of tensors, P texts' tokens,
                where the head alone judges): adds ``matches``, the probabilities (P,)
                that they belong to the window;
                ``out_dir`` (str): draw each clip there, with the best of ``texts``
                (list of str).

        Returns:
            ``predictions``, one dict per clip: ``clip`` (name), ``streams`` (those that
            it has, of AV, A, V) and ``windows``: a list of dicts with ``start``,
            ``end`` (s), ``streams``, ``embeddings`` (stream -> (F, Q, E) float32,
            L2-normalised) or, of a classifier, ``scores`` ((classes,) float32), and
            ``caption`` (str); both are empty where there is an ``error`` (str, one
            line). ``visualization``: paths of the drawings.

        Raises:
            InputError: An input is of a wrong type or shape, or there is none.
            ClipError: A clip can't be read, and ``on_error`` is 'raise'.
        """
        preds, drawings = [], []
        for clip, drawn in self.answers(inputs, audio, batch_size, on_error, **kwargs):
            preds.append(clip)
            drawings += drawn
        return self.postprocess(preds, drawings, return_datasamples)

    def answers(
        self,
        inputs: Any = None,
        audio: Any = None,
        batch_size: int = WINDOWS,
        on_error: str | None = None,
        **kwargs,
    ) -> Iterator[tuple[dict, list[Path]]]:
        """Answer clip by clip, so that not all has to be held at once.

        Arguments and errors are those of the call.

        Returns:
            A clip's dict of ``predictions``, and its drawings.
        """
        unknown = set(kwargs) - self.preprocess_kwargs - self.forward_kwargs
        unknown -= self.visualize_kwargs
        if unknown:
            raise InputError(f'unknown argument {sorted(unknown)[0]!r}')
        check_number('batch_size', batch_size, 1)
        if not isinstance(kwargs.get('caption', {}), dict):
            raise InputError('caption must be a dict of arguments for `Decoding`')
        strict = is_strict(on_error, inputs, audio)
        clips = as_clips(inputs, audio)
        for clip in clips if strict else ():
            clip.check()  # before hours go into those before it
        if kwargs.get('out_dir') is not None:
            kwargs.setdefault('view', True)
        return self._answers(clips, batch_size, strict, kwargs)

    def _answers(
        self, clips: list[Clip], batch_size: int, strict: bool, kwargs: dict
    ) -> Iterator[tuple[dict, list[Path]]]:
        pre, forward, page, _ = self._dispatch_kwargs(**kwargs)
        bad, draw = [], self._drawer(**page)
        with self._bar(len(clips), batch_size) as bar:
            batches = self.preprocess(clips, batch_size, **pre)
            found = self._windows(batches, forward, bar, len(clips) > batch_size)
            for _, group in groupby(found, lambda window: window.index):
                windows = without_rests(list(group))
                answer = joined(windows)
                if 'error' not in answer:
                    yield answer, draw(windows)
                    continue
                if strict:
                    raise ClipError(answer['error'])
                bad.append(answer['error'])
                yield answer, []
        if bad:
            warnings.warn(
                f'{len(bad)} of {len(clips)} clips are without an answer, their '
                f'entries carry `error`; the first: {shown(bad[0])}',
                stacklevel=2,
            )

    def _drawer(
        self, out_dir: str | Path | None = None, texts: Sequence[str] | None = None
    ) -> Callable[[list[Window]], list[Path]]:
        """Drawings of a clip from its windows; the texts are embedded once."""
        if out_dir is None:
            return lambda windows: []
        feats = None
        if isinstance(self.model, CoAVTClassifier):
            texts = self.class_names()
        elif texts is not None:
            feats = self.texts.embed(texts)
        return lambda windows: [save_page(self.model, windows, out_dir, texts, feats)]

    def _windows(
        self, batches: Iterator[dict], options: dict, bar: tqdm, beside: bool
    ) -> Iterator[Window]:
        for batch in batches:
            with READER_CORE.left(beside, self.model):
                found = self.forward(batch, **options)
            bar.update(found[-1].index + found[-1].share - bar.n)
            yield from found

    def _bar(self, clips: int, batch_size: int) -> tqdm:
        shown = '{desc}: {percentage:3.0f} % |{bar}| {elapsed} < {remaining}'
        return tqdm(
            total=clips,
            desc=f'{clips} clips' if clips > 1 else 'clip',
            disable=not self.show_progress,
            delay=1.0 if clips <= batch_size else 0.0,  # s; a short job needs no bar
            bar_format=shown,
        )

    def preprocess(
        self, inputs: list[Clip], batch_size: int = 1, windows: bool = True
    ) -> Iterator[dict]:
        """Read clips ahead, window by window, and collate them to batches.

        Args:
            inputs: From :func:`as_clips`.
            batch_size: Windows per batch.
            windows: Whether to cut longer clips.

        Yields:
            What the model's preprocessor takes, as far as clips can be read, and
            ``failed``, the windows that can't be.
        """
        read = partial(
            samples, self.pipeline, self.seconds, cut=windows, isolate=self.isolate
        )
        found = (s for i, clip in enumerate(inputs) for s in read(clip, i))
        for chunk in self._get_chunk_data(ahead(found, 2 * batch_size), batch_size):
            yield self.collated(chunk)

    def collated(self, chunk: Sequence[dict | Window]) -> dict:
        """Put windows together to a batch for :meth:`forward`.

        Args:
            chunk: From :func:`~coavt_mm.apis.reading.samples`, of one clip or several.
        """
        good = [sample for sample in chunk if not isinstance(sample, Window)]
        batch = self.collate_fn(good) if good else {}
        failed = [sample for sample in chunk if isinstance(sample, Window)]
        return dict(batch, failed=failed)

    @torch.no_grad()
    def forward(self, inputs: dict, view: bool = False, **wanted) -> list[Window]:
        """Send one batch through the model.

        Args:
            inputs: From :meth:`preprocess`.
            view: Whether to add what a drawing needs.
            **wanted: See :func:`add_features`.

        Returns:
            The windows in order of the clips; with ``error`` where one can't be
            answered.
        """
        packed = dict(inputs)
        failed = packed.pop('failed', [])
        if not packed:
            return failed
        data = self.model.data_preprocessor(packed, False)
        batch, found = data['inputs'], described(self.model, data)
        rows = [row for row, window in enumerate(found) if not window.error]
        if rows:
            good = [found[row] for row in rows]
            part = {key: value[rows] for key, value in batch.items()}
            if isinstance(self.model, CoAVTClassifier):
                add_scores(self.model, good, part)
            else:
                add_features(self.texts, good, part, view=view, **wanted)
        for row in rows if view else ():
            drawing = input_drawing(self.model, packed, batch, row)
            found[row].drawing.update(drawing)
        return sorted(found + failed, key=lambda window: window.index)

    def require(self, part: str, what: str) -> nn.Module:
        """Return a part of the model, or say what it would take.

        Raises:
            ConfigError: The model has no such part.
        """
        found = getattr(self.model, part, None)
        if found is None:
            raise ConfigError(
                f'this {type(self.model).__name__} has no {part} to {what} with'
            )
        return found

    def class_names(self) -> list[str]:
        """Return the names of a classifier's classes.

        Raises:
            ConfigError: Neither config nor checkpoint has them.
        """
        names, wanted = self.cfg.get('classes'), self.model.head.num_classes
        if not names or len(names) != wanted:
            raise ConfigError(
                f'{len(names) if names else "no"} names are stored for the '
                f"model's {wanted} classes; set test_dataloader.dataset.classes"
            )
        return list(names)

    def postprocess(
        self,
        preds: list[dict],
        visualization: list[Path],
        return_datasample: bool = False,
    ) -> dict:
        """Give the answer mmengine's form."""
        if return_datasample:
            preds = [BaseDataElement(metainfo=answer) for answer in preds]
        return dict(predictions=preds, visualization=visualization)
