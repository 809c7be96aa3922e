"""The main job in miniature: render clips, pre-train, evaluate, report; then the rest.

``run_demo`` is the main job; ``run_recipes`` takes its checkpoint through every recipe
that has a small-scale form on the demo clips.
"""

import json
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil
from mmengine.config import ConfigDict

from coavt_mm.analysis.logs import read_run
from coavt_mm.analysis.results import find_results, markdown_tables, read_rows
from coavt_mm.analysis.training_curves import planned_stages
from coavt_mm.config import load_config
from coavt_mm.demo.making import make_sounding_shapes
from coavt_mm.demo.settings import RECIPES, Settings
from coavt_mm.engine.stages import find_checkpoint, run_command, timed
from coavt_mm.errors import CoAVTError
from coavt_mm.evaluation.retrieval_report import markdown_table
from coavt_mm.values import read_settings
from coavt_mm.visualization import save_figure, training_figure

TRAIN_CONFIG = 'coavt_mm::coavt/pretrain_demo.py'
TEST_CONFIG = 'coavt_mm::coavt/retrieval_demo.py'
#: what training chose, under a name that the recipes' `load_from` knows
CHECKPOINT = 'checkpoint.pth'
#: further tests of a recipe's checkpoint: AV-trained, with one modality missing
MORE_TESTS = {
    'cls_demo': [
        (f'model.test_cfg.stream={s}', f'test_evaluator.out_dir=work_dirs/cls_demo/{s}')
        for s in 'AV'
    ],
}
BOUND_DATA = 'data/sounding_shapes_bound'


class MemoryWatch(threading.Thread):
    """Keep the largest memory of this process and all its children, in MB.

    Shared pages are divided among those that share them (PSS), so that forked data
    workers are not counted twice. A look takes some 0.1 s of a core.

    Args:
        interval: Time between two looks, in s.
    """

    def __init__(self, interval: float = 15.0):
        super().__init__(daemon=True)
        self.interval, self.peak_mb = interval, 0.0
        self._stop_event = threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        while not self._stop_event.wait(self.interval):
            self.peak_mb = max(self.peak_mb, _tree_memory_mb())

    def stop(self) -> float:
        """Stop looking and return the peak in MB."""
        self._stop_event.set()
        self.join()
        return self.peak_mb


def _tree_memory_mb() -> float:
    me = psutil.Process()
    total = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it has ended since it was listed
    return total / 2**20


def run_demo(
    work_dir: str, workers: int, cfg_options: Sequence[str] = (), settings=None
) -> dict:
    """Run all stages and write ``results.json``, ``results.md`` and the plots.

    Args:
        work_dir: Where results, logs and checkpoints go.
        workers: Processes that render.
        cfg_options: KEY=VALUE settings for training and evaluation.
        settings: Of the demo clips; default the config's data.

    Returns:
        What ``results.json`` holds.
    """
    out = Path(work_dir)
    options = ['--cfg-options', *cfg_options] if cfg_options else []
    cfg = load_config(TRAIN_CONFIG, read_settings(cfg_options))
    watch = MemoryWatch()
    seconds: dict[str, float] = {}
    watch.start()
    with timed(seconds, 'render'):
        data_root = cfg.train_dataloader.dataset.data_root
        make_sounding_shapes(data_root, settings or Settings(), workers)
    with timed(seconds, 'train'):
        run_command('train', TRAIN_CONFIG, '--work-dir', str(out / 'train'), *options)
        checkpoint = out / CHECKPOINT
        shutil.copyfile(find_checkpoint(out / 'train'), checkpoint)
    with timed(seconds, 'evaluate'):
        places = [
            f'test_evaluator.RetrievalMetric.out_dir={out}',
            f'test_evaluator.AttributeAccuracy.out_file={out / "captions.json"}',
        ]
        run_command(
            'test',
            TEST_CONFIG,
            str(checkpoint),
            *('--work-dir', str(out / 'test'), '--cfg-options', *cfg_options, *places),
        )
    return _write_results(out, cfg, seconds, watch.stop())


def run_recipes(workers: int, page: str, names: Sequence[str] = tuple(RECIPES)) -> None:
    """Train and test the small-scale recipes one by one; write a page of results.

    Args:
        workers: Processes that render the bound clips.
        page: Markdown file to write.
        names: Which recipes, of :data:`RECIPES`.

    Raises:
        CoAVTError: If the demo left no checkpoint.
    """
    folders = [Path('work_dirs') / name for name in ('demo', *names)]
    start = folders[0] / CHECKPOINT
    if not start.is_file():
        raise CoAVTError(f'{start}: there is no such checkpoint; run `make demo` first')
    seconds: dict[str, float] = {}
    if 'av_retrieval_demo' in names:
        with timed(seconds, 'render bound clips'):
            make_sounding_shapes(BOUND_DATA, Settings(bound=True), workers)
    for name, folder in zip(names, folders[1:], strict=True):
        config, checkpoint = f'coavt_mm::coavt/{name}.py', start
        with timed(seconds, name):
            if RECIPES[name]:
                shutil.rmtree(folder, ignore_errors=True)  # no result of another run
                run_command('train', config)
                checkpoint = find_checkpoint(folder)
            for options in ((), *MORE_TESTS.get(name, ())):
                asked = ['--cfg-options', *options] if options else []
                run_command('test', config, str(checkpoint), *asked)
    _write_page(Path(page), folders, seconds)


def _write_page(page: Path, folders: list[Path], seconds: dict[str, float]) -> None:
    found, _ = find_results(folders)
    rows = [row for path in found for row in read_rows(path)]
    for row in rows:
        row.run = os.path.relpath(row.run, 'work_dirs')
    times = ''.join(f'| {name} | {value:.0f} |\n' for name, value in seconds.items())
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(
        '# Results of the small-scale recipes\n\n'
        'Made by `make demo-all` on the held-out demo clips, one run with one seed.\n\n'
        f'{markdown_tables(rows)}\n'
        f'## time\n\n| stage | s |\n|---|---|\n{times}'
        f'| total | {sum(seconds.values()):.0f} |\n',
        encoding='utf-8',
    )
    print(f'Results: {page}')


def _write_results(
    out: Path, cfg: ConfigDict, seconds: dict[str, float], peak_mb: float
) -> dict:
    retrieval = json.loads((out / 'retrieval.json').read_text('utf-8'))
    captions = json.loads((out / 'captions.json').read_text('utf-8'))['shares']
    facts = {key: value for key, value in retrieval.items() if key != 'metric'}
    results = dict(
        facts,
        caption_attribute_accuracy=captions['greedy/all'],
        caption_attribute_accuracy_beam=captions['beam/all'],
        alignment_weights=dict(cfg.model.contrastive_head.streams),
        wall_seconds=dict(seconds, total=round(sum(seconds.values()), 1)),
        peak_memory_mb=round(peak_mb),
    )
    (out / 'results.json').write_text(json.dumps(results, indent=2) + '\n', 'utf-8')
    table = markdown_table(retrieval) + _summary(results)
    (out / 'results.md').write_text(table, 'utf-8')
    curves = training_figure(read_run(out / 'train'), stages=planned_stages(cfg))
    save_figure(curves, out / 'training.png')
    print(f'\n{table}\nResults, tables and plots: {out}')
    return results


def _summary(results: dict) -> str:
    untrained = [s for s, w in results['alignment_weights'].items() if not w]
    lines = [
        '',
        'Attributes named rightly in captions: '
        f'{100 * results["caption_attribute_accuracy"]:.1f} % (greedy), '
        f'{100 * results["caption_attribute_accuracy_beam"]:.1f} % (beam)',
        'Time: '
        + ', '.join(f'{k} {v:.0f} s' for k, v in results['wall_seconds'].items()),
        f'Peak memory: {results["peak_memory_mb"]} MB',
    ]
    if untrained:
        lines.insert(1, f'Alignments switched off in training: {", ".join(untrained)}')
    return '\n'.join(lines) + '\n'
