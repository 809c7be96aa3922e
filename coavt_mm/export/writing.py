"""Write a model's encoders and projections, each to a file of its own."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from coavt_mm.apis import CoAVTInferencer, load_model
from coavt_mm.apis.listing import make_folder
from coavt_mm.errors import InputError
from coavt_mm.export.checking import check_file, example
from coavt_mm.export.describing import describe
from coavt_mm.export.graphs import graphs_of
from coavt_mm.export.packages import check_packages
from coavt_mm.export.programs import exported, quantise, save_onnx, save_torch


def export_model(
    model: CoAVTInferencer | str | Path,
    out_dir: str | Path,
    int8: bool = False,
    config: str | Path | dict | None = None,
) -> dict:
    """Write ``audio``, ``video``, ``audio_video`` and ``text``, as .pt2 and as .onnx.

    Each file is compared with the model before it is put in its place.

    Args:
        model: A CoAVT on the CPU, or its checkpoint.
        out_dir: Folder for the files, and for ``export.json``, which says what goes in
            and comes out.
        int8: Whether to write ``*.int8.onnx`` as well, with weights of 8 bits.
        config: For a checkpoint that does not carry its own.

    Returns:
        What ``export.json`` says.

    Raises:
        ConfigError: The model embeds nothing, or can't be exported; a package is
            missing.
        CoAVTError: What was written differs from the model.
    """
    check_packages()
    if not isinstance(model, CoAVTInferencer):
        model = load_model(model, config, 'cpu', show_progress=False)
    if next(model.model.parameters()).device.type != 'cpu':
        raise InputError("export takes a model on the CPU: load it with device='cpu'")
    model.require('contrastive_head', 'export')
    reads_texts = model.model.text_ids in model.texts.tokenizers
    graphs = graphs_of(model.model, reads_texts)
    folder = make_folder(out_dir)
    with tempfile.TemporaryDirectory(dir=folder, prefix='.export') as unfinished:
        files = {}
        for name, graph in graphs.items():
            files[name] = _write(model, name, graph, Path(unfinished), int8)
        described = describe(model, graphs, files, Path(unfinished))
        text = json.dumps(described, indent=1, ensure_ascii=False)
        (Path(unfinished) / 'export.json').write_text(text + '\n', 'utf-8')
        for path in sorted(Path(unfinished).iterdir()):
            os.replace(path, folder / path.name)
    return described


def _write(
    model: CoAVTInferencer, name: str, graph: Any, folder: Path, int8: bool
) -> dict[str, dict]:
    """Write one graph; returns file name -> what is to be said of it."""
    most = (
        model.texts.tokenizers[model.model.text_ids].max_tokens if name == 'text' else 0
    )
    given = tuple(example(model, graph.inputs, 3, seed=0).values())
    program = exported(name, graph, given, most)
    files = dict(pt2=folder / f'{name}.pt2', onnx=folder / f'{name}.onnx')
    save_torch(program, files['pt2'])
    save_onnx(program, graph, files['onnx'])
    about = {
        path.name: dict(difference=check_file(model, name, graph.inputs, path))
        for path in files.values()
    }
    if int8:
        files['int8'] = folder / f'{name}.int8.onnx'
        quantise(files['onnx'], files['int8'])
        about[files['int8'].name] = {}
    for path in files.values():
        about[path.name]['bytes'] = path.stat().st_size
    return about
