import numpy as np
import pytest
import torch
from media_files import brightness

from coavt_mm.datasets.transforms import IfVisual, LoadFrames, PackAVTInputs
from coavt_mm.errors import ClipError, ConfigError


def row(path, start=0.0, end=None):
    return dict(clip_path=path and str(path), start=start, end=end)


def level(image):
    return int(image[-1, -1, 1])


def test_all(clip):
    results = LoadFrames(num_frames=4, pick='all')(row(clip))
    assert results['has_visual'] and results['clip_len'] == 4
    assert np.allclose(results['frame_times'], [0.2, 0.7, 1.2, 1.7], atol=1e-3)
    expected = [brightness(i, 20) for i in (2, 7, 12, 17)]
    assert np.allclose([level(image) for image in results['imgs']], expected, atol=4)
    assert results['img_shape'] == results['original_shape'] == (48, 64)


def test_the_times_of_cavmae(clip):
    results = LoadFrames(num_frames=4, pick='all', times='cavmae')(row(clip))
    assert np.allclose(results['frame_times'], [0, 0.4, 0.9, 1.4], atol=1e-3)
    middle = LoadFrames(times='cavmae', pick='middle')(row(clip))
    assert np.allclose(middle['frame_times'], [0.9], atol=1e-3)


@pytest.mark.parametrize('pick, index', [('middle', 5), (0, 0), (9, 9)])
def test_one_chosen(clip, pick, index):
    results = LoadFrames(pick=pick)(row(clip))
    assert np.allclose(results['frame_times'], [0.2 * index + 0.1], atol=1e-3)


def test_random_draws_all_and_nothing_else(clip):
    np.random.seed(0)
    transform = LoadFrames(num_frames=4, pick='random')
    drawn = {round(transform(row(clip))['frame_times'][0], 3) for _ in range(40)}
    assert drawn == {0.2, 0.7, 1.2, 1.7}


def test_a_span_of_the_clip(clip):
    results = LoadFrames(num_frames=2, pick='all')(row(clip, 1.0, 1.6))
    assert np.allclose(results['frame_times'], [1.1, 1.4], atol=1e-3)


def test_a_span_behind_the_end_is_cut(clip):
    results = LoadFrames(num_frames=2, pick='all')(row(clip, 1.0, 9.0))
    assert np.allclose(results['frame_times'], [1.2, 1.7], atol=1e-3)


@pytest.mark.parametrize('start', [2.0, 30.0])
def test_a_span_without_a_picture(clip, start):
    results = LoadFrames()(row(clip, start, start + 10))
    assert results['has_visual'] is False and 'imgs' not in results


def test_no_picture(horrors):
    for path in (horrors['no_picture'], None):
        assert LoadFrames()(row(path))['has_visual'] is False


def test_a_missing_file_is_a_clip_error(horrors):
    with pytest.raises(ClipError, match='not_there.mp4: No such file'):
        LoadFrames()(row(horrors['missing']))


@pytest.mark.parametrize(
    'options',
    [dict(pick='first'), dict(pick=10), dict(backend='opencv'), dict(times='ends')],
)
def test_bad_options_are_errors(options):
    with pytest.raises(ConfigError):
        LoadFrames(**options)


def test_mistyped_arguments_are_errors():
    with pytest.raises(TypeError):
        LoadFrames(num_frame=3)


CHAIN = [
    dict(type='mmaction.Resize', scale=(-1, 40)),
    dict(type='mmaction.RandomResizedCrop'),
    dict(type='mmaction.Resize', scale=(32, 32), keep_ratio=False),
    dict(type='mmaction.CenterCrop', crop_size=24),
    dict(type='mmaction.Flip', flip_ratio=0.5),
]


def test_the_transforms_of_mmaction2_follow(clip):
    results = LoadFrames(num_frames=3, pick='all')(row(clip))
    results = PackAVTInputs()(IfVisual(CHAIN)(results))
    frames = results['inputs']['frames']
    assert frames.shape == (3, 3, 24, 24) and frames.dtype == torch.uint8


def test_they_leave_clips_without_a_picture_alone(horrors):
    results = LoadFrames()(row(horrors['no_picture']))
    before = dict(results)
    assert IfVisual(CHAIN)(results) == before


def test_flip_flips(clip):
    results = LoadFrames(pick='middle')(row(clip))
    before = results['imgs'][0].copy()
    flip = IfVisual([dict(type='mmaction.Flip', flip_ratio=1.0)])
    assert np.array_equal(flip(results)['imgs'][0], before[:, ::-1])
