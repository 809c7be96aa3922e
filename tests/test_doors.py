"""What each door imports: who asks for help, or for one caption, waits for no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_apis
import torch

ROOT = Path(__file__).parents[1]
HEAVY = ('mmengine', 'torch', 'numpy', 'transformers', 'av', 'matplotlib', 'sklearn',
         'scipy', 'cv2', 'PIL', 'mmcv', 'mmaction', 'tensorboard')  # fmt: skip
TAIL = '\nimport sys\nprint("LOADED", *sys.modules)'


def loaded(code):
    """Names of modules that a process has imported at the end of the code."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code + TAIL],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    'code',
    [
        'import coavt_mm, coavt_mm.apis, coavt_mm.demo, coavt_mm.preparation',
        # all parsers, so that each help page can be printed, and every `tools/`
        'from coavt_mm.cli import analysis, data, inspecting, main\n'
        'main.make_parser()\n'
        'made = [x for m in (analysis, data, inspecting) for x in vars(m).items()]\n'
        'for name, command in made:\n'
        '    if isinstance(command, main.Command):\n'
        '        if name not in ("make_protocol", "rescore"):  # list what there is\n'
        '            command.add(main.ArgumentParser(**command.page))',
    ],
)
def test_help_and_version_wait_for_nothing(code):
    assert not loaded(code) & set(HEAVY)


def test_clips_are_checked_without_torch():
    code = 'from coavt_mm.preparation import FolderIndex, prepare, read_folder_csv'
    modules = loaded(code)
    assert 'coavt_mm.datasets.decoding' in modules
    needed = {'av', 'cv2', 'mmengine', 'numpy', 'PIL'}
    assert not modules & ({*HEAVY, 'coavt_mm.models'} - needed)


def test_scores_of_classes_are_waited_for_by_those_who_want_them():
    modules = loaded('import coavt_mm.evaluation')
    assert 'coavt_mm.evaluation.classification' in modules
    assert not modules & {'scipy', 'sklearn', 'transformers'}


@pytest.mark.slow
def test_a_caption_needs_neither_plots_nor_metrics_nor_other_libraries(
    vocabulary, make_clip, tmp_path
):
    cfg = tiny_apis.coavt_cfg(vocabulary)
    resize = dict(type='Resize', scale=(32, 32), keep_ratio=False)
    cfg.test_dataloader.dataset.pipeline[1].transforms = [resize]
    checkpoint = tiny_apis.save(cfg, tmp_path / 'coavt.pth')
    words = ['caption', str(checkpoint), str(make_clip(seconds=0.5))]
    modules = loaded(f'from coavt_mm.cli.main import main\nmain({words!r})')
    assert 'coavt_mm.models.generation' in modules
    unwanted = ('matplotlib', 'mmaction', 'mmpretrain', 'tensorboard', 'ray',
                'coavt_mm.evaluation', 'coavt_mm.visualization', 'pycocoevalcap',
                'coavt_mm.engine', 'coavt_mm.preparation.preparing', 'transformers',
                'scipy', 'sklearn', 'torchvision', 'huggingface_hub')  # fmt: skip
    assert not [name for name in unwanted if name in modules]
    if not torch.__version__.startswith('2.6.'):  # there torch.distributed imports it
        assert 'torch._dynamo' not in modules  # the compiler


def test_an_optimiser_of_transformers_is_there_when_it_is_asked_for():
    code = (
        'import coavt_mm, sys, torch\n'
        'from mmengine.registry import OPTIMIZERS\n'
        'import mmengine.optim\n'
        'assert "transformers" not in sys.modules\n'
        'weights = [torch.nn.Parameter(torch.ones(3))]\n'
        'built = OPTIMIZERS.build(dict(type="Adafactor", params=weights))\n'
        'assert type(built).__module__ == "transformers.optimization", type(built)'
    )
    assert 'transformers' in loaded(code)


def test_the_scope_is_known_whichever_is_imported_first():
    tail = (
        '\nfrom mmengine.config.utils import MODULE2PACKAGE\n'
        'from mmengine.registry import MODELS\n'
        'assert "coavt_mm" in MODELS.children and "coavt_mm" in MODULE2PACKAGE'
    )
    for lines in ('import coavt_mm, mmengine', 'import mmengine, coavt_mm'):
        assert 'torch' not in loaded(lines + tail)
