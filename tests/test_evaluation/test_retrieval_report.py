import av
import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from retrieval_parts import as_element, make_samples

from coavt_mm.evaluation import retrieval_report
from coavt_mm.evaluation.retrieval_report import evenly_spaced
from coavt_mm.visualization import Hit

FILES = {'recall_curves.png', 'similarity_matrix.png', 'contact_sheet.png'}


def write_clip(path, value):
    """One second of one grey, 10 frames a second."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for _ in range(10):
            image = np.full((48, 64, 3), value, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def evaluate(samples, out_dir):
    kwargs = dict(out_dir=str(out_dir), plots=True)
    evaluator = Evaluator(dict(type='coavt_mm.RetrievalMetric', **kwargs))
    evaluator.dataset_meta = dict(ceilings={'AV': {'R@1': 100.0}})
    evaluator.process([as_element(sample) for sample in samples])
    return evaluator.evaluate(len(samples))


def test_metric_saves_plots_with_frames_of_the_clips(tmp_path, monkeypatch):
    samples = make_samples([2, 1, 3])
    for i, sample in enumerate(samples):
        path = write_clip(tmp_path / f'{i}.mp4', 60 + 80 * i)
        sample.update(clip_path=path, start=0.0, end=1.0)
    seen = []
    monkeypatch.setattr(
        retrieval_report, 'Hit', lambda *args: (seen.append(args), Hit(*args))[1]
    )
    evaluate(samples, tmp_path / 'out')
    found = {path.name for path in (tmp_path / 'out').iterdir()}
    assert found == FILES | {'retrieval.json', 'retrieval.md'}
    assert len(seen) == 3 * 3  # captions 0, 2 and 4 speak of both
    assert {round(hit[0].mean() / 20) for hit in seen} == {3, 7, 11}
    assert sum(hit[2] for hit in seen) == 3


@pytest.mark.parametrize(
    ('counts', 'lacking'), [([1], {}), ([2, 2], {0: 'A', 1: 'A'}), ([120, 0], {})]
)
def test_plots_of_odd_sets(tmp_path, counts, lacking):
    evaluate(make_samples(counts, lacking=lacking), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= FILES


def test_chance_knows_how_many_captions_are_right(tmp_path, monkeypatch):
    drawn, draw = {}, retrieval_report.recall_figure
    monkeypatch.setattr(
        retrieval_report,
        'recall_figure',
        lambda *args, right: (drawn.update(right), draw(*args, right=right))[1],
    )
    evaluate(make_samples([5, 0, 3]), tmp_path)  # every other caption is of both
    assert drawn['text_to_clip']['AV'] == [1] * 4
    assert drawn['clip_to_text']['AV'] == [3, 1]
    assert drawn['clip_to_text']['A'] == [4, 2]


def test_nothing_to_plot_is_no_error(tmp_path):
    evaluate(make_samples([1], lacking={0: ''}), tmp_path)
    assert not FILES & {path.name for path in tmp_path.iterdir()}


def test_evenly_spaced():
    assert evenly_spaced(3, 10) == [0, 1, 2]
    assert evenly_spaced(10, 4) == [0, 2, 5, 7]
    assert evenly_spaced(0, 4) == []
