"""Do exported files say what the model says?

Letters: B rows, S audio samples, L spectrogram frames, M mel bins, H and W picture
height and width, T text tokens.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from coavt_mm.errors import CoAVTError
from coavt_mm.export.programs import quiet
from coavt_mm.models.heads import pool_tokens

if TYPE_CHECKING:
    from coavt_mm.apis import CoAVTInferencer

#: Largest difference of any number of a feature of norm 1.
TOLERANCE = 1e-4
#: Rows of the batches that are compared.
BATCHES = (1, 2, 5)
STREAMS = dict(audio='A', video='V', audio_video='AV')


def example(
    inferencer: 'CoAVTInferencer', names: tuple[str, ...], rows: int, seed: int
) -> dict[str, Tensor]:
    """Make up inputs: noise of many levels and lengths, pictures and ids at random.

    Args:
        inferencer: With the model.
        names: Of the inputs wanted.
        rows: B.
        seed: Of what is drawn.
    """
    model: Any = inferencer.model
    draw = torch.Generator().manual_seed(seed)
    made: dict[str, Tensor] = {}
    if 'frames' in names:
        shape = rows, 3, model.av_encoder.img_size, model.av_encoder.img_size
        made['frames'] = torch.randint(0, 256, shape, generator=draw).to(torch.uint8)
    if 'spectrogram' in names:
        size = model.data_preprocessor.front_end.size
        made['spectrogram'] = torch.randn(rows, *size, generator=draw)
    if 'waveform' in names:
        most = sound_samples(inferencer)
        share = 1 - torch.rand(rows, generator=draw) / 2
        share[0] = 1
        level = 10 ** (-3 * torch.rand(rows, 1, generator=draw))
        made['waveform'] = level * (torch.rand(rows, most, generator=draw) - 0.4)
        made['samples'] = (share * most).long()
    if 'input_ids' in names:
        made.update(_example_texts(inferencer, rows, draw))
    return {name: made[name] for name in names}


def _example_texts(
    inferencer: 'CoAVTInferencer', rows: int, draw: torch.Generator
) -> dict[str, Tensor]:
    reader = inferencer.texts.tokenizers[inferencer.model.text_ids]
    pieces, tokens = reader.rules.get_vocab_size(), min(reader.max_tokens, rows + 5)
    lengths = torch.randint(2, tokens + 1, (rows,), generator=draw)
    lengths[0] = tokens
    mask = (torch.arange(tokens) < lengths[:, None]).long()
    ids = torch.randint(1, pieces, (rows, tokens), generator=draw)
    padding = inferencer.model.data_preprocessor.pad_token_id
    ids = ids.masked_fill(mask == 0, padding)
    return dict(input_ids=ids, attention_mask=mask)


def sound_samples(inferencer: 'CoAVTInferencer') -> int:
    """How many samples a waveform has that is handed in."""
    rate = inferencer.model.data_preprocessor.front_end.sample_rate
    return round(inferencer.seconds * rate)


@torch.no_grad()
def model_answers(
    inferencer: 'CoAVTInferencer', name: str, inputs: dict[str, Tensor]
) -> tuple[Tensor, ...]:
    """What the model itself says, by its own preprocessor.

    Args:
        inferencer: With the model.
        name: Of the graph.
        inputs: Of the graph.
    """
    model: Any = inferencer.model
    if name == 'text':
        return (model.embed_texts(**inputs),)
    rows = len(next(iter(inputs.values())))
    packed = dict(
        clip_key=torch.arange(rows),
        has_visual=torch.full((rows,), 'frames' in inputs),
        audio_samples=inputs.get('samples', torch.zeros(rows, dtype=torch.long)),
    )
    if 'frames' in inputs:
        packed['frames'] = inputs['frames'][:, None]
    if 'waveform' in inputs:
        packed['waveform'] = inputs['waveform']
    batch = model.data_preprocessor(dict(inputs=packed, data_samples=[]))['inputs']
    if 'spectrogram' in inputs:
        batch['spectrogram'] = inputs['spectrogram']
    found, stream = model.extract(batch), STREAMS[name]
    pair = found['clip_feats'][stream], pool_tokens(found['tokens'][stream])
    return tuple(part[:, 0] for part in pair)


class OnnxFile:
    """A file in onnxruntime, on the CPU.

    Args:
        path: The file.
    """

    def __init__(self, path: Path):
        from onnxruntime import InferenceSession

        self.session = InferenceSession(path, providers=['CPUExecutionProvider'])

    def __call__(self, **inputs: Tensor | np.ndarray) -> tuple[Tensor, ...]:
        """Outputs for inputs, by name."""
        given = {name: np.asarray(value) for name, value in inputs.items()}
        return tuple(map(torch.from_numpy, self.session.run(None, given)))


class TorchFile:
    """A file of torch.export's.

    Args:
        path: The file.
    """

    def __init__(self, path: Path):
        with quiet():
            self.module = torch.export.load(path).module()

    @torch.no_grad()
    def __call__(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs for inputs, in the order of the file."""
        found = self.module(*inputs.values())
        return found if isinstance(found, tuple) else (found,)


def _differences(
    inferencer: 'CoAVTInferencer', name: str, names: tuple[str, ...], run: Any
) -> Iterator[float]:
    for seed, rows in enumerate(BATCHES):
        inputs = example(inferencer, names, rows, seed)
        wanted = model_answers(inferencer, name, inputs)
        for ours, theirs in zip(wanted, run(**inputs), strict=True):
            yield float((ours - theirs).abs().max())


def check_file(
    inferencer: 'CoAVTInferencer', name: str, names: tuple[str, ...], path: Path
) -> float:
    """Compare a file with the model, in batches of several sizes.

    Args:
        inferencer: With the model.
        name: Of the graph.
        names: Of its inputs.
        path: .onnx or .pt2.

    Returns:
        The largest difference of any number.

    Raises:
        CoAVTError: It is above :data:`TOLERANCE`, or no number.
    """
    run = (OnnxFile if path.suffix == '.onnx' else TorchFile)(path)
    worst = max(_differences(inferencer, name, names, run))
    if not worst <= TOLERANCE:
        raise CoAVTError(
            f'{path.name} differs from the model by {worst:.2g}, more than '
            f'{TOLERANCE:g}; nothing was written'
        )
    return worst
