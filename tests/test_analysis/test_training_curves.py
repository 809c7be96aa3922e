import json

from coavt_mm.analysis.training_curves import read_scalars, training_figure
from coavt_mm.visualization import save_figure


def write_scalars(path, recalls=True):
    rows = [
        {'lr': 1e-4, 'loss': 3 / i, 'loss_lm_AV': 1 / i, 'iter': i, 'step': i}
        for i in (1, 2, 3)
    ]
    if recalls:
        rows.append({'retrieval/text_to_clip/AV/R@1': 40.0, 'step': 2})
        rows.append({'retrieval/clip_to_text/AV/R@1': 50.0, 'step': 2, 'x': 'text'})
    path.write_text('\n'.join(map(json.dumps, rows)))
    return path


def test_training_figure_from_mmengine_scalars(tmp_path):
    series = read_scalars(write_scalars(tmp_path / 'scalars.json'))
    assert series['loss'] == ([1, 2, 3], [3, 1.5, 1])
    assert 'x' not in series
    figure = training_figure(series, title='toy')
    save_figure(figure, tmp_path / 'a.png')
    losses, recalls = figure.axes
    assert [line.get_label() for line in losses.lines] == ['lm AV', 'sum']
    labels = [line.get_label() for line in recalls.lines]
    assert labels == ['AV, text → clip', 'AV, clip → text']
    assert list(recalls.lines[1].get_ydata()) == [50.0]


def test_training_figure_without_evaluations_has_one_panel(tmp_path):
    series = read_scalars(write_scalars(tmp_path / 'scalars.json', recalls=False))
    assert len(training_figure(series).axes) == 1
