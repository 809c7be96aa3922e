"""What each door imports: who asks for help, or for one caption, waits for no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_a_model_needs_neither_plots_nor_metrics_nor_other_libraries():
    code = (
        'from coavt_mm.apis import load_model\n'
        'from coavt_mm.registry import MODELS, TRANSFORMS\n'
        'MODELS.get("CoAVT"), TRANSFORMS.get("PackAVTInputs")'
    )
    modules = loaded(code)
    assert 'coavt_mm.models.coavt' in modules
    unwanted = ('matplotlib', 'mmaction', 'mmpretrain', 'tensorboard', 'decord', 'ray',
                'coavt_mm.evaluation', 'coavt_mm.visualization', 'pycocoevalcap',
                'coavt_mm.engine', 'coavt_mm.preparation')  # fmt: skip
    assert not modules & set(unwanted)


def test_the_scope_is_known_whichever_is_imported_first():
    tail = (
        '\nfrom mmengine.config.utils import MODULE2PACKAGE\n'
        'from mmengine.registry import MODELS\n'
        'assert "coavt_mm" in MODELS.children and "coavt_mm" in MODULE2PACKAGE'
    )
    for lines in ('import coavt_mm, mmengine', 'import mmengine, coavt_mm'):
        assert 'torch' not in loaded(lines + tail)
