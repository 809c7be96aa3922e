"""What the recall of exported files is, and what int8 costs of it.

Letters: F frames, Q queries, E projected width.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from coavt_mm.apis.inputs import as_clips
from coavt_mm.apis.reading import samples
from coavt_mm.datasets.manifest import find_manifest, iter_manifest
from coavt_mm.errors import ClipError, InputError
from coavt_mm.evaluation.features import StreamFeatures
from coavt_mm.evaluation.ranking import count_ranks, recall_summary
from coavt_mm.export.checking import OnnxFile, model_answers

if TYPE_CHECKING:
    from coavt_mm.apis import CoAVTInferencer

Run = Callable[[str, dict[str, Tensor]], tuple[Tensor, ...]]


def measure_recall(
    model: 'CoAVTInferencer', folder: str | Path, manifest: str | Path
) -> dict[str, dict[str, float]]:
    """Find captions' clips with the model and with its exported files.

    Args:
        model: That was exported.
        folder: With the files.
        manifest: Clips with sound, picture and captions.

    Returns:
        'model', 'onnx' and, if it is there, 'int8' -> R@1, R@5, R@10 (%), MedR, MeanR,
        from text to clip, by sound and picture together.

    Raises:
        InputError: The files read no texts, or no clip has all three.
        ClipError: A clip can't be read.
    """
    folder = Path(folder)
    if not (folder / 'text.onnx').is_file():
        raise InputError(f'{folder}: has no text.onnx to compare captions with')
    clips, texts, owners = _inputs(model, Path(manifest))
    runs: dict[str, Run] = dict(model=partial(model_answers, model))
    for kind, suffix in dict(onnx='onnx', int8='int8.onnx').items():
        files = {n: folder / f'{n}.{suffix}' for n in ('audio_video', 'text')}
        if all(path.is_file() for path in files.values()):
            loaded = {name: OnnxFile(path) for name, path in files.items()}
            runs[kind] = partial(_answers, loaded)
    return {kind: _recall(run, clips, texts, owners) for kind, run in runs.items()}


def _answers(
    files: dict[str, OnnxFile], name: str, given: dict[str, Tensor]
) -> tuple[Tensor, ...]:
    return files[name](**given)


def _inputs(
    model: 'CoAVTInferencer', manifest: Path
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor], Tensor]:
    """Inputs of each clip, of all texts, and whose clip each text is."""
    path = find_manifest(manifest)
    rows = [row for row in iter_manifest(path, path.parent) if row.get('captions')]
    clips: list[dict[str, Tensor]] = []
    captions: list[str] = []
    owners: list[int] = []
    for row in rows:
        for given in _clip(model, row):
            captions += row['captions']
            owners += [len(clips)] * len(row['captions'])
            clips.append(given)
    if not clips:
        raise InputError(f'{manifest}: no clip has sound, picture and a caption')
    ids = model.texts.tokens(captions, model.model.text_ids)
    mask = pad_sequence([torch.ones_like(x) for x in ids], True)
    padding = model.model.data_preprocessor.pad_token_id
    texts = dict(input_ids=pad_sequence(ids, True, padding), attention_mask=mask)
    return clips, texts, torch.tensor(owners)


def _clip(model: 'CoAVTInferencer', row: dict) -> Iterator[dict[str, Tensor]]:
    span = dict(start=row.get('start') or 0.0, end=row.get('end'))
    given = dict(video=row['clip_path'], audio=row.get('audio_path'), **span)
    (clip,) = as_clips({k: v for k, v in given.items() if v is not None})
    for packed in samples(model.pipeline, model.seconds, clip, cut=False):
        if not isinstance(packed, dict):
            raise ClipError(packed.error)
        frames, wave = packed['inputs']['frames'], packed['inputs']['waveform']
        if frames is None or wave is None:
            continue
        heard = torch.tensor([packed['data_samples'].audio_samples] * len(frames))
        yield dict(
            frames=frames, waveform=wave.expand(len(frames), -1).float(), samples=heard
        )


def _recall(
    run: Run, clips: list[dict[str, Tensor]], texts: dict[str, Tensor], owners: Tensor
) -> dict[str, float]:
    (queries,) = run('text', texts)
    gallery = [run('audio_video', given)[0] for given in clips]
    features = StreamFeatures(
        gallery=gallery,
        queries=queries,
        index=torch.arange(len(queries)),
        target=owners,
        rows=list(range(len(clips))),
        columns=[0] * len(owners),
    )
    return recall_summary(count_ranks(features)[0])
