"""What goes into exported files and comes out of them, as ``export.json`` says it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from coavt_mm import __version__
from coavt_mm.apis.pipeline import FitFrames
from coavt_mm.datasets.transforms import TokenizeText
from coavt_mm.export.checking import sound_samples
from coavt_mm.models.logmel import AudioFrontEnd

if TYPE_CHECKING:
    from coavt_mm.apis import CoAVTInferencer

ABOUT = dict(
    waveform='mono, -1 ... 1, filled up with zeros behind `samples`',
    samples='how many samples of each row are sound; below one window of the '
    'spectrogram a clip counts as having none: take the video file for it',
    spectrogram='as the front end makes and normalises it',
    frames='RGB, 0 ... 255, one picture per row; several pictures of a clip are '
    'several rows, each with the same sound',
    input_ids='of the tokenizer, [CLS] ... [SEP], shorter rows filled up with pad_id',
    attention_mask='1 for a token, 0 for what is filled up',
    clip_feats='queries, each of norm 1, in the space of the texts',
    token_feats='mean of the encoder tokens, of norm 1; sound and picture are '
    'compared by it',
    text_feats='of norm 1',
)


def describe(
    model: 'CoAVTInferencer', graphs: dict[str, Any], files: dict, folder: Path
) -> dict:
    """Say what a program that runs the files has to know; write the tokenizer's file.

    Args:
        model: What was exported.
        graphs: By name.
        files: By name, what is said of each file.
        folder: For ``tokenizer.json``.
    """
    sizes = _sizes(model)
    said = dict(
        made_by=dict(coavt_mm=__version__, torch=torch.__version__),
        parts={
            name: dict(
                files=files[name],
                inputs=[dict(sizes[n], name=n, about=ABOUT[n]) for n in graph.inputs],
                outputs=[dict(sizes[n], name=n, about=ABOUT[n]) for n in graph.outputs],
            )
            for name, graph in graphs.items()
        },
        picture=_picture(model),
        sound=_sound(model),
        similarity='mean over a clip\'s pictures of the best query\'s product: '
        '(clip_feats @ text_feats).max(1).mean(0)',
    )  # fmt: skip
    if 'text' in graphs:
        said['text'] = _text(model, folder / 'tokenizer.json')
    return said


def _sizes(model: 'CoAVTInferencer') -> dict[str, dict]:
    net: Any = model.model
    encoder, head = net.av_encoder, net.contrastive_head
    sides, width = [encoder.img_size] * 2, head.width
    whole = dict(dtype='int64', shape=['batch', 'tokens'])
    real = 'float32'
    return dict(
        waveform=dict(dtype=real, shape=['batch', sound_samples(model)]),
        samples=dict(dtype='int64', shape=['batch']),
        spectrogram=dict(
            dtype=real, shape=['batch', *net.data_preprocessor.front_end.size]
        ),
        frames=dict(dtype='uint8', shape=['batch', 3, *sides]),
        input_ids=whole,
        attention_mask=whole,
        clip_feats=dict(
            dtype=real, shape=['batch', net.query_encoder.num_queries, width]
        ),
        token_feats=dict(dtype=real, shape=['batch', encoder.embed_dims]),
        text_feats=dict(dtype=real, shape=['batch', width]),
    )


def _picture(model: 'CoAVTInferencer') -> dict:
    net: Any = model.model
    numbers = net.data_preprocessor
    return dict(
        inside_the_files='(frames - mean) / std',
        mean=numbers.frame_mean.flatten().tolist(),
        std=numbers.frame_std.flatten().tolist(),
        before=[
            repr(step)
            for step in model.pipeline.transforms.transforms
            if not isinstance(step, FitFrames)
        ],
        size='if the steps before leave another size: shorter side to '
        f'{net.av_encoder.img_size} pixels, then its centre',
    )


def _sound(model: 'CoAVTInferencer') -> dict:
    front_end: Any = model.model.data_preprocessor.front_end  # type: ignore[union-attr]
    said = dict(sample_rate=front_end.sample_rate, seconds=model.seconds)
    if type(front_end) is not AudioFrontEnd:
        kind = f'{type(front_end).__module__}.{type(front_end).__qualname__}'
        return dict(said, inside_the_files='nothing', front_end=kind)
    logmel = front_end.logmel
    return dict(
        said,
        inside_the_files='all: mean removed, log-mel as Kaldi computes it, '
        '(log-mel - mean) / scale',
        window=logmel.window_size,
        hop=logmel.hop,
        fft_size=logmel.fft_size,
        preemphasis=logmel.preemphasis,
        mel_bins=front_end.size[1],
        frames=front_end.size[0],
        mean=front_end.mean,
        scale=front_end.scale,
    )


def _text(model: 'CoAVTInferencer', path: Path) -> dict:
    reader: TokenizeText = model.texts.tokenizers[model.model.text_ids]
    reader.rules.save(str(path))
    head: Any = model.model.contrastive_head
    return dict(
        tokenizer=path.name,
        max_tokens=reader.max_tokens,
        pad_id=model.model.data_preprocessor.pad_token_id,
        templates=model.pipeline.templates,
        temperature=head.temperature.item(),
    )
