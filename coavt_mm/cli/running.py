"""A training and a test as the commands run them: screens, checks, no litter."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from coavt_mm.cli.checks import check_mixed_precision
from coavt_mm.cli.fit_checks import check_fit, refuse
from coavt_mm.cli.launchers import PARENT, take_over
from coavt_mm.cli.screen import TestScreen, TrainScreen, say_tested, say_trained
from coavt_mm.cli.setting_checks import wrong_settings
from coavt_mm.cli.texts import parts_of, steps_of
from coavt_mm.datasets.tokenizer import DECODER_TOKEN, build_rules
from coavt_mm.engine.hooks import NegativesHook, StoreConfigHook
from coavt_mm.engine.nonfinite import SkippedStepsHook
from coavt_mm.engine.ranks import lost_processes
from coavt_mm.engine.resuming import ResumeHook
from coavt_mm.engine.running import build_runner
from coavt_mm.engine.stopping import StopHook
from coavt_mm.engine.weights import StrictCheckpointHook, bare_model
from coavt_mm.errors import CoAVTError, ConfigError

CURVES = 'vis_data'


def run_training(cfg: Config, loaders: Sequence[str]) -> None:
    """Train, and say what, how long and where to.

    Args:
        cfg: A complete config.
        loaders: Those of its loaders that are read.
    """
    check_mixed_precision(cfg, has_gpu=get_device() != 'cpu')
    refuse([*wrong_settings(cfg).values()])
    _keep_curves(cfg)
    runner = build_runner(cfg, loaders)
    notes = check_fit(runner)
    for loader in loaders:
        check_texts(runner, getattr(runner, f'_{loader}'))
    stop = StopHook(parent=PARENT)
    screen = TrainScreen(notes)
    for hook in (StoreConfigHook(), NegativesHook(), ResumeHook(), screen, stop):
        runner.register_hook(hook)
    if not any(isinstance(hook, SkippedStepsHook) for hook in runner.hooks):
        runner.register_hook(SkippedStepsHook())
    with stop.listening(), lost_processes():
        take_over()
        runner.train()
    say_trained(runner)


def run_test(cfg: Config) -> dict[str, float]:
    """Test, and say what and where to.

    Args:
        cfg: A complete config.

    Returns:
        Name of a metric -> value.
    """
    since = time.time()
    runner = build_runner(cfg, ['test_dataloader'])
    check_texts(runner, runner._test_dataloader)
    runner.register_hook(StrictCheckpointHook())
    runner.register_hook(TestScreen())
    metrics = runner.test()
    say_tested(runner, metrics, since)
    return metrics


def _keep_curves(cfg: Config) -> None:
    """Move the curves of another run aside, under the time of their last point."""
    old = Path(cfg.work_dir) / CURVES
    if not old.is_dir() or cfg.get('resume') or not is_main_process():
        return
    last = time.localtime(max(f.stat().st_mtime for f in (old, *old.iterdir())))
    aside = old.with_name(f'{old.name}_{time.strftime("%Y%m%d_%H%M%S", last)}')
    if not aside.exists():
        old.rename(aside)


@contextmanager
def no_litter(work_dir: str) -> Iterator[None]:
    """Take away the folder of a start that an error has ended before its first step.

    Args:
        work_dir: Of the run.
    """
    path = Path(work_dir)
    before = {*path.iterdir()} if path.is_dir() else set()
    try:
        yield
    except (CoAVTError, OSError):
        if is_main_process():
            _take_away(path, before)
        raise


def _take_away(work_dir: Path, before: set[Path]) -> None:
    new = {*work_dir.iterdir()} - before
    logs = [f for f in new if f.is_dir() and re.fullmatch(r'\d{8}_\d{6}', f.name)]
    text = ''.join(
        f.read_text('utf-8', 'replace') for d in logs for f in d.glob('*.log')
    )
    if re.search(r'(Iter|Epoch)\((train|val|test)\)|Saving checkpoint', text):
        return  # it has come further than its start
    for folder in (*logs, *new & {work_dir / CURVES}):
        rmtree(folder, ignore_errors=True)
    for config in new:  # as it would have run
        if config.suffix == '.py':
            config.unlink()
    for aside in new:  # another run's, moved for this one
        if aside.name.startswith(f'{CURVES}_') and not (work_dir / CURVES).exists():
            aside.rename(work_dir / CURVES)
    with suppress(OSError):  # it is not empty, or was there before
        os.rmdir(work_dir)


def check_texts(runner: Runner, loader: Any) -> None:
    """Refuse tokenizers whose words the model lacks.

    Args:
        runner: Whose model reads the texts.
        loader: That gives them.

    Raises:
        ConfigError: The message names tokenizer and setting.
    """
    model: Any = bare_model(runner)
    steps = [
        step
        for part in parts_of(getattr(loader, 'dataset', None))
        for step in steps_of(getattr(part, 'pipeline', None))
        if hasattr(step, 'rules') and hasattr(step, 'max_tokens')
    ]
    for step in steps:
        for name, part, key in (
            ('text_encoder', getattr(model, 'text_encoder', None),
             getattr(model, 'text_ids', None)),
            ('query_encoder', getattr(model, 'query_encoder', None), 'input_ids'),
        ):  # fmt: skip
            if step.key == key:
                _check_words(f'model.{name}', _rows(part), step)
        if step.key == 'input_ids' and getattr(model, 'lm_head', None) is not None:
            _check_writing(model, step)


def _rows(encoder: Any) -> int | None:
    """How many words an encoder has vectors for, None if it does not say."""
    config = getattr(getattr(encoder, 'bert', None), 'config', None)
    return getattr(config or encoder, 'vocab_size', None)


def _check_words(setting: str, rows: int | None, step: Any) -> None:
    words = step.rules.get_vocab()
    words.pop(DECODER_TOKEN, None)  # begins what is written, never what is read
    needed = max(words.values()) + 1
    if rows is not None and needed > rows:
        raise ConfigError(
            f'the tokenizer {step.name} has {needed:,} word pieces, {setting} knows '
            f'{rows:,}: take the tokenizer that the model is made for, or set '
            f'vocab_size={needed + 1} of text_encoder and query_encoder'
        )


def _check_writing(model: Any, step: Any) -> None:
    head, rows = model.lm_head, _rows(model.query_encoder)
    if head.streams and hasattr(head, 'check_ids'):
        head.check_ids(build_rules(step.name), step.name)
        if rows is not None and head.dec_token_id >= rows:
            raise ConfigError(
                f'lm_head.dec_token_id={head.dec_token_id} is no row of the '
                f"query_encoder's {rows:,}: set its vocab_size={head.dec_token_id + 1}"
            )
    name = getattr(model, 'tokenizer_path', None)
    if name not in (None, step.name):
        words = build_rules(name).get_vocab()
        if words != build_rules(step.name).get_vocab():
            raise ConfigError(
                f'model.tokenizer={name} writes other word pieces than those that the '
                f'pipeline reads, {step.name}; give both the same'
            )
