"""A trained model on one's own clips, in the form of mmengine's inferencers.

Letters: F frames, Q queries, E projected width, N tokens, D width, T text tokens,
B windows.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.infer import BaseInferencer
from mmengine.structures import BaseDataElement
from torch import nn
from tqdm import tqdm

from coavt_mm.checkpoints import load_weights
from coavt_mm.compat import load_from_local
from coavt_mm.errors import ClipError, ConfigError, InputError
from coavt_mm.models import CoAVT, CoAVTClassifier
from coavt_mm.models.layers import STREAMS
from coavt_mm.registry import INFERENCERS, MODELS

from .inputs import Clip, as_clips, check_number
from .loading import checked_device, config_of
from .pictures import clip_view, save_pictures
from .pipeline import ClipPipeline
from .texts import TextReader
from .windows import Span, spans


@INFERENCERS.register_module()
class CoAVTInferencer(BaseInferencer):
    """Clips in, plain data out: embeddings by stream, class scores, captions, pictures.

    Built from a config and a checkpoint, or from a checkpoint alone: its config is
    stored with it as data and never executed. Clips go through the config's own test
    pipeline and the model's preprocessor, so the embedding of a clip is the one that
    the evaluation extracts.

    Args:
        model (str | Path | dict | Config, optional): Config, or its path. None takes
            the config out of the checkpoint.
        weights (str | Path): Checkpoint (.pth or .safetensors).
        device (str, optional): 'cpu', 'cuda', 'cuda:1'. Default: a GPU where there is
            one.
        show_progress (bool): Whether to show a bar for several batches, or where one
            takes more than a second.

    Raises:
        InputError: ``model`` or ``weights`` is of a wrong type.
        ConfigError: The config is missing or broken, or there is no such device.
        CheckpointError: The checkpoint is missing, damaged, unsafe, or of another
            config.
    """

    preprocess_kwargs = {'windows'}
    forward_kwargs = {'keep_tokens', 'caption', 'view'}
    visualize_kwargs = {'out_dir', 'texts'}

    def __init__(
        self,
        model: str | Path | dict | Config | None = None,
        weights: str | Path | None = None,
        device: str | None = None,
        show_progress: bool = True,
    ):
        if not isinstance(weights, str | os.PathLike):
            raise InputError(
                'weights must be the path of a checkpoint, not a '
                f'{type(weights).__name__}'
            )
        self._checkpoint = load_from_local(os.fspath(weights), 'cpu')
        cfg = config_of(model, self._checkpoint, os.fspath(weights))
        super().__init__(
            ConfigDict(cfg),
            os.fspath(weights),
            checked_device(device),
            'coavt_mm',
            show_progress,
        )
        del self._checkpoint
        self.texts = TextReader(self.model, self.pipeline.tokenize)

    # ----------------------------------------------------------- construction
    def _init_model(self, cfg: ConfigDict, weights: str, device: str) -> nn.Module:
        model = MODELS.build(cfg.model)
        if not isinstance(model, CoAVT | CoAVTClassifier):
            raise ConfigError(
                f'{weights} is a {type(model).__name__}; this takes CoAVT and '
                'CoAVTClassifier'
            )
        load_weights(self._checkpoint, model)
        return model.to(device).eval()

    def _init_pipeline(self, cfg: ConfigDict) -> ClipPipeline:
        encoder = getattr(self.model, 'av_encoder', None) or self.model.backbone
        return ClipPipeline(cfg.pipeline, encoder.img_size)

    def _init_collate(self, cfg: ConfigDict) -> Callable:
        return pseudo_collate

    def _init_visualizer(self, cfg: ConfigDict) -> None:
        """Pictures are drawn by ``coavt_mm.visualization``, which needs none."""

    @property
    def seconds(self) -> float:
        """Length of a window, in s."""
        preprocessor = self.model.data_preprocessor
        return self.pipeline.seconds or (
            preprocessor.spec_frames * preprocessor.logmel.hop
            / preprocessor.logmel.sample_rate
        )  # fmt: skip

    # --------------------------------------------------------------- the call
    def __call__(
        self,
        inputs: Any = None,
        audio: Any = None,
        return_datasamples: bool = False,
        batch_size: int = 8,
        **kwargs,
    ) -> dict:
        """Run clips through the model.

        Args:
            inputs: A clip or several: paths, addresses that fsspec reads, bytes, frames
                (F, H, W, 3) uint8, dicts with ``video``, ``audio``, ``fps``, ``start``,
                ``end`` (frames per second, s), a list of these, or a folder.
            audio: Sound alone, or the sound of ``inputs``: paths, addresses, bytes, or
                pairs (waveform (S,) or (C, S) float, rate in Hz).
            return_datasamples (bool): Whether to return BaseDataElements.
            batch_size (int): Windows that go through the model at once.
            **kwargs: ``windows`` (bool): cut longer clips into windows, default True;
                ``keep_tokens`` (bool): add each stream's tokens (F, N, D);
                ``caption`` (dict): arguments of ``Decoding``, writes captions;
                ``out_dir`` (str): save a picture of each clip there, with the best of
                ``texts`` (list of str).

        Returns:
            dict: ``predictions``, one dict a clip: ``clip`` (name), ``streams`` (those
            that it has, of AV, A, V) and ``windows``: a list of dicts with ``start``,
            ``end`` (s), ``streams``, ``embeddings`` (stream -> (F, Q, E) float32,
            L2-normalised) or, of a classifier, ``scores`` ((classes,) float32), and
            ``caption`` (str). ``visualization``: paths of pictures.

        Raises:
            InputError: An input is of a wrong type or shape, or there is none.
            ClipError: A clip can't be read.
        """
        unknown = set(kwargs) - self.preprocess_kwargs - self.forward_kwargs
        unknown -= self.visualize_kwargs
        if unknown:
            raise InputError(f'unknown argument {sorted(unknown)[0]!r}')
        check_number('batch_size', batch_size, 1)
        if not isinstance(kwargs.get('caption', {}), dict):
            raise InputError('caption must be a dict of arguments for `Decoding`')
        clips = as_clips(inputs, audio)
        if kwargs.get('out_dir') is not None:
            kwargs.setdefault('view', True)
        pre, forward, visual, _ = self._dispatch_kwargs(**kwargs)
        found: list[dict] = []
        with self._bar(len(clips), batch_size) as bar:
            for batch in self.preprocess(clips, batch_size, **pre):
                found += self.forward(batch, **forward)
                bar.update(found[-1]['index'] + found[-1].pop('share') - bar.n)
        drawn = self.visualize(clips, found, **visual)
        return self.postprocess(found, drawn, return_datasamples)

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
        """Read clips, window by window, and collate them to batches.

        Args:
            inputs (list[Clip]): From :func:`as_clips`.
            batch_size (int): Windows a batch.
            windows (bool): Whether to cut longer clips.

        Yields:
            dict: What the model's preprocessor takes.
        """
        chunks = self._get_chunk_data(self._samples(inputs, windows), batch_size)
        yield from (self.collate_fn(chunk) for chunk in chunks if chunk)

    def _samples(self, clips: list[Clip], windows: bool) -> Iterator[dict]:
        for index, clip in enumerate(clips):
            try:
                for span in spans(
                    clip, self.seconds, self.pipeline.sample_rate, windows
                ):
                    yield self._sample(index, clip.name, span)
            except ClipError as error:
                reason = str(error).replace('<bytes>', clip.name)
                named = reason if clip.name in reason else f'{clip.name}: {reason}'
                raise ClipError(named) from error

    def _sample(self, index: int, name: str, span: Span) -> dict:
        packed = self.pipeline(dict(span.row, sample_id=name, sample_idx=index))
        place = dict(shown=(span.start, span.end), share=span.share)
        packed['data_samples'].set_metainfo(place)
        return packed

    @torch.no_grad()
    def forward(
        self,
        inputs: dict,
        keep_tokens: bool = False,
        caption: dict | None = None,
        view: bool = False,
    ) -> list[dict]:
        """One batch through the model; arguments as of the call.

        Returns:
            list[dict]: A dict a window, with ``index`` of its clip.
        """
        data = self.model.data_preprocessor(inputs, False)
        batch, samples = data['inputs'], data['data_samples']
        heard, seen = batch['has_audio'].tolist(), batch['has_visual'].tolist()
        found = [_describe(*each) for each in zip(samples, heard, seen, strict=True)]
        if isinstance(self.model, CoAVTClassifier):
            self._add_scores(found, batch)
        else:
            self._add_features(found, batch, keep_tokens, caption, view)
        if view:
            for row, window in enumerate(found):
                drawn = clip_view(self.model, inputs, batch, row)
                window.setdefault('view', {}).update(drawn)
        return found

    def _add_scores(self, found: list[dict], batch: dict) -> None:
        wanted = self.model.test_cfg['stream']
        for window in found:
            if not set(wanted) & set(''.join(window['streams'])):
                raise ClipError(
                    f'{window["clip"]}: this model classifies by stream {wanted}, the '
                    f'clip has {", ".join(window["streams"])} from '
                    f'{window["start"]:g} s on'
                )
        for window, scores in zip(found, self.model.scores(batch), strict=True):
            window['scores'] = scores.float().cpu().numpy()

    def _add_features(
        self, found: list[dict], batch: dict, keep: bool, caption: dict | None, view
    ) -> None:
        extracted = self.model.extract(batch)
        tokens, feats = extracted['tokens'], extracted.get('clip_feats', {})
        for row, window in enumerate(found):
            window['embeddings'] = {
                stream: feats[stream][row].float().cpu().numpy()
                for stream in window['streams']
                if stream in feats
            }
            if keep:
                window['tokens'] = {
                    s: tokens[s][row].float().cpu().numpy() for s in window['streams']
                }
            if view:
                fullest = tokens[window['streams'][0]][row]  # (F, N, D)
                maps = self.model.query_encoder.attention_maps(fullest)
                window['view'] = dict(attention=maps.mean(1).cpu().numpy())  # (F, Q, N)
        if caption is not None:
            keys = batch['clip_key'].tolist()
            self._add_captions(found, tokens, keys, caption)

    def _add_captions(
        self, found: list[dict], tokens: dict, keys: list[int], options: dict
    ) -> None:
        """Captions from the middle frame of the fullest stream, a stream at a time."""
        for stream in STREAMS:
            rows = [i for i, w in enumerate(found) if w['streams'][0] == stream]
            if rows:
                middle = tokens[stream][rows, tokens[stream].shape[1] // 2]
                own = [keys[row] for row in rows]
                texts = self.model.generate(middle, own, **options)
                for row, text in zip(rows, texts, strict=True):
                    found[row]['caption'] = text

    # ---------------------------------------------------------------- answers
    def require(self, part: str, what: str) -> nn.Module:
        """A part of the model, or an error that says what it would take.

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
        """Names of a classifier's classes.

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

    def visualize(
        self,
        inputs: list[Clip],
        preds: list[dict],
        out_dir: str | Path | None = None,
        texts: Sequence[str] | None = None,
    ) -> list[Path]:
        """Save a picture of each clip, see :func:`save_pictures`."""
        return [] if out_dir is None else save_pictures(self, preds, out_dir, texts)

    def postprocess(
        self,
        preds: list[dict],
        visualization: list[Path],
        return_datasample: bool = False,
    ) -> dict:
        """Windows by clip, without what was kept for the picture only."""
        clips: dict[int, dict] = {}
        for window in preds:
            kept = {k: v for k, v in window.items() if k not in ('view', 'share')}
            name, index = kept.pop('clip'), kept.pop('index')
            clip = clips.setdefault(index, dict(clip=name, streams=[], windows=[]))
            clip['windows'].append(kept)
        for clip in clips.values():
            there = {s for window in clip['windows'] for s in window['streams']}
            clip['streams'] = [s for s in STREAMS if s in there]
        answers = list(clips.values())
        if return_datasample:
            answers = [BaseDataElement(metainfo=answer) for answer in answers]
        return dict(predictions=answers, visualization=visualization)


def _describe(sample: BaseDataElement, heard: bool, seen: bool) -> dict:
    """What the answer says of a window beside the model's part."""
    (start, end), there = sample.shown, {'AV': heard and seen, 'A': heard, 'V': seen}
    if not any(there.values()):
        raise ClipError(
            f'{sample.sample_id}: too little sound for a spectrogram, and no picture, '
            f'from {start:g} s on'
        )
    return dict(
        index=sample.sample_idx,
        clip=sample.sample_id,
        start=start,
        end=end,
        streams=[stream for stream in STREAMS if there[stream]],
        share=sample.share,
    )
