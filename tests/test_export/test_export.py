"""Exported files say what the model says, and run without this package."""

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import tiny_apis
import torch
from mmengine.utils import digit_version

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.cli.main import main as coavt
from coavt_mm.datasets.manifest import write_manifest
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.export import export_model, graphs, packages
from coavt_mm.export.checking import OnnxFile, check_file, example, model_answers
from coavt_mm.export.programs import exported
from coavt_mm.models.logmel import AudioFrontEnd
from coavt_mm.models.similarity import similarity

pytest.importorskip('onnxscript', reason='the extra export is not installed')
pytest.importorskip('onnxruntime', reason='the extra export is not installed')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        digit_version(torch.__version__) < digit_version(packages.TORCH),
        reason='the exporter is too old',
    ),
]

PAGE = Path(__file__).parents[2] / 'docs/export.md'
PARTS = ('audio', 'video', 'audio_video', 'text')


def small(vocabulary):
    """Fewer layers: exporting takes time for each."""
    cfg = tiny_apis.coavt_cfg(vocabulary)
    cfg.model.av_encoder.update(depths=(1, 0, 1))
    cfg.model.query_encoder.update(depth=1)
    return cfg


@pytest.fixture(scope='module')
def made(tmp_path_factory, vocabulary, make_clip):
    """What the command leaves and prints, and the model."""
    root = tmp_path_factory.mktemp('export')
    checkpoint = tiny_apis.save(small(vocabulary), root / 'coavt.pth')
    rows = [
        dict(
            id=text,
            clip=str(make_clip(seconds=0.5, frequency=frequency)),
            captions=[text],
        )
        for text, frequency in {'the dog': 300, 'a cat barks': 2000}.items()
    ]
    write_manifest(root / 'test.jsonl', rows, dict(protocol='two'))
    out = root / 'exported'
    with redirect_stdout(io.StringIO()) as printed:
        coavt(['export', str(checkpoint), '--out', str(out), '--int8', '--recall',
               str(root / 'test.jsonl')])  # fmt: skip
    model = CoAVTInferencer(weights=checkpoint, device='cpu', show_progress=False)
    return out, model, printed.getvalue()


def test_what_is_written_and_said(made):
    out, _, printed = made
    files = {f'{p}.{s}' for p in PARTS for s in ('pt2', 'onnx', 'int8.onnx')}
    assert {p.name for p in out.iterdir()} == files | {'export.json', 'tokenizer.json'}
    said = json.loads((out / 'export.json').read_text())
    for name in PARTS:
        about = said['parts'][name]['files']
        assert about[f'{name}.onnx']['difference'] < 1e-5
        assert about[f'{name}.pt2']['difference'] < 1e-5
        assert about[f'{name}.onnx']['bytes'] == (out / f'{name}.onnx').stat().st_size
    assert said['sound']['sample_rate'] == 16000 and said['sound']['hop'] == 160
    assert said['text']['max_tokens'] == 12
    assert printed.count('equal to the model') == 8
    rows = re.findall(r'^(model|onnx|int8) +([\d.]+) ', printed, re.MULTILINE)
    assert [kind for kind, _ in rows] == ['model', 'onnx', 'int8']
    assert rows[0][1] == rows[1][1]  # R@1


@pytest.mark.parametrize('name', PARTS)
@pytest.mark.parametrize('rows', [1, 3, 7])
def test_any_batch(name, rows, made):
    out, model, _ = made
    names = [x['name'] for x in described(out, name)['inputs']]
    inputs = example(model, tuple(names), rows, seed=rows + 10)
    if 'samples' in inputs:
        inputs['samples'][-1] = 17  # too few for a window: no sound
    found = OnnxFile(out / f'{name}.onnx')(**inputs)
    if rows == 1 and 'samples' in inputs:
        return  # then the model has no stream A at all
    for ours, theirs in zip(model_answers(model, name, inputs), found, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def described(out, name):
    return json.loads((out / 'export.json').read_text())['parts'][name]


def test_a_clip_as_export_json_says_it(made, make_clip):
    """Decoded by other means than ours, it embeds as `embed` does."""
    import av

    out, model, _ = made
    path = make_clip(seconds=0.5)
    wanted = model.embed(str(path), text=['the dog barks'], windows=False)
    with av.open(str(path)) as file:
        resampler = av.AudioResampler('flt', 'mono', 16000)
        parts = [f for frame in file.decode(audio=0) for f in resampler.resample(frame)]
        wave = np.concatenate([part.to_ndarray()[0] for part in parts])
    size = described(out, 'audio')['inputs'][0]['shape'][1]
    wave = wave[:size]
    waveform = np.pad(wave, (0, size - len(wave)))[None]
    feats, _ = OnnxFile(out / 'audio.onnx')(
        waveform=waveform, samples=np.array([len(wave)])
    )
    embedded = wanted['clips'][0]['windows'][0]['embeddings']['A']
    # the last samples of a codec's packet may differ
    assert np.abs(feats.numpy() - embedded).max() < 1e-2
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(str(out / 'tokenizer.json')).encode('the dog barks')
    given = dict(input_ids=[words.ids], attention_mask=[words.attention_mask])
    (text,) = OnnxFile(out / 'text.onnx')(**{k: np.array(v) for k, v in given.items()})
    assert np.abs(text[0].numpy() - wanted['texts'][0]['embedding']).max() < 1e-5
    assert similarity(text, feats).shape == (1,)


def test_a_pt2_loads_without_this_package(made):
    out, _, _ = made
    code = (
        'import sys, torch; sys.modules.update(coavt_mm=None, mmengine=None)\n'
        f'm = torch.export.load({str(out / "video.pt2")!r}).module()\n'
        'x = m(torch.zeros(5, 3, 32, 32, dtype=torch.uint8))\n'
        'print([tuple(y.shape) for y in x])'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == '[(5, 3, 8), (5, 16)]'


def test_the_python_of_the_page(made, monkeypatch, capsys):
    out, _, _ = made
    monkeypatch.chdir(out.parent)
    blocks = re.findall(r'^```python\n(.*?)^```', PAGE.read_text(), re.M | re.S)
    for block in blocks:
        block = block.replace('96, 96', '32, 32').replace('red circle moves', 'dog')
        exec(compile(block, 'export.md', 'exec'), {})
    assert 'similarity' in capsys.readouterr().out


def test_a_file_that_differs_is_refused(made):
    out, model, _ = made
    head = model.model.contrastive_head
    before = head.query_proj.bias.detach().clone()
    try:
        head.query_proj.bias.data += 0.01
        with pytest.raises(CoAVTError, match=r'video.onnx differs from the model by 0'):
            check_file(model, 'video', ('frames',), out / 'video.onnx')
    finally:
        head.query_proj.bias.data = before


def test_the_spectrogram_of_any_wave(coavt):
    """The convolutions against the preprocessor's Fourier transform."""
    front_end = coavt.model.data_preprocessor.front_end
    inputs = example(coavt, ('waveform', 'samples'), 6, seed=1)
    inputs['waveform'][1] = 0  # silence
    inputs['waveform'][2] = torch.sin(torch.arange(8000) * 0.4)
    inputs['samples'][3:] = torch.tensor([399, 400, 401])
    packed = dict(
        waveform=inputs['waveform'],
        audio_samples=inputs['samples'],
        has_visual=torch.zeros(6, dtype=torch.bool),
        clip_key=torch.arange(6),
    )
    data = coavt.model.data_preprocessor(dict(inputs=packed, data_samples=[]))
    found = graphs.WaveformInput(front_end)(**inputs)
    difference = (found - data['inputs']['spectrogram']).abs().amax((1, 2))
    assert (difference < 2e-3).all(), difference  # of energies far below a tone's
    assert not found[3].any() and found[4].any()


class OtherFrontEnd(AudioFrontEnd):
    """One that can't be taken apart."""


def test_another_front_end_leaves_the_spectrogram_outside(coavt, monkeypatch):
    front_end = coavt.model.data_preprocessor.front_end
    monkeypatch.setattr(front_end, '__class__', OtherFrontEnd)
    made = graphs.graphs_of(coavt.model, reads_texts=False)
    assert set(made) == {'audio', 'video', 'audio_video'}
    assert made['audio_video'].inputs == ('frames', 'spectrogram')
    inputs = example(coavt, made['audio_video'].inputs, 3, seed=0)
    wanted = model_answers(coavt, 'audio_video', inputs)
    found = made['audio_video'](*inputs.values())
    for ours, theirs in zip(wanted, found, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_part_that_can_not_be_traced_is_one_line():
    class Asks(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    with pytest.raises(ConfigError, match='^text can not be exported'):
        exported('text', Asks(2, 2), (torch.ones(3, 2),), 0)


def test_mistakes_are_one_line(classifier, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match='has no contrastive_head to export with'):
        export_model(classifier, tmp_path)
    monkeypatch.setattr(packages, 'find_spec', lambda name: None)
    with pytest.raises(ConfigError, match='pip install "coavt-mm.export."'):
        export_model('nowhere.pth', tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(packages, 'version', lambda name: '2.6.0')
    with pytest.raises(ConfigError, match='needs torch 2.11 or later, and this is 2.6'):
        export_model('nowhere.pth', tmp_path)
    assert not list(tmp_path.iterdir())
