"""What a classification leaves for people: tables, JSON, flat numbers, plots."""

from pathlib import Path

import numpy as np
from mmengine.fileio import dump

from coavt_mm.evaluation.report import draw_table, heading
from coavt_mm.visualization import class_bars_figure, confusion_figure, save_figure

BEST_CLASSES = 'best_classes.json'
SHARES = ('mAP', 'mAUC', 'top1', 'top5', 'mean_class_accuracy', 'f1')
TITLES = {'d_prime': "d'", 'top1': 'top-1', 'top5': 'top-5', 'f1': 'F1',
          'mean_class_accuracy': 'mean-class'}  # fmt: skip


def cell(name: str, value: float | None) -> str:
    """Shares in per cent, d' as it is, '-' for what is not known."""
    if value is None:
        return '-'
    return f'{100 * value:.1f}' if name in SHARES else f'{value:.2f}'


def mean_numbers(report: dict) -> dict[str, float | None]:
    """The means of a report or a part of one: mAP, top1, ..."""
    return {name: report[name] for name in (*SHARES, 'd_prime') if name in report}


def flat_metrics(report: dict) -> dict[str, float]:
    """Numbers for mmengine's log: 'mAP', 'relabels/A/top1'."""
    parts = {'': report}
    parts |= {f'relabels/{k}/': part for k, part in report['relabels'].items()}
    return {
        prefix + name: value
        for prefix, part in parts.items()
        for name, value in mean_numbers(part).items()
        if value is not None
    }


def markdown_table(report: dict) -> str:
    """The numbers, with ceilings and re-labels under them; shares in per cent."""
    streams = '+'.join(f'{s} ({n})' for s, n in report['streams'].items())
    parts = {f'{streams}': report}
    parts |= {
        f'{stream}: ceiling': part
        for stream, part in (report['ceilings'] or {}).items()
    }
    parts |= {
        f'labels {name}: {part["protocol"]}, {part["clips"]} clips, '
        f'{part["missing"]} missing': part
        for name, part in report['relabels'].items()
    }
    columns = list(dict.fromkeys(n for p in parts.values() for n in mean_numbers(p)))
    head = ['stream (clips)', *(TITLES.get(name, name) for name in columns)]
    rows = [
        [label, *(cell(name, part.get(name)) for name in columns)]
        for label, part in parts.items()
    ]
    counts = f'{report["classes"]} classes, {report["classes_without_clips"]} without '
    counts += f'a clip, {report["unscored"]} clips not scored'
    return f'{heading(report)}\n{counts}\n\n{draw_table(head, rows)}'


def save_classification(report: dict, out_dir: str | Path) -> None:
    """Write classification.json and classification.md."""
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    dump(report, out_dir / 'classification.json', indent=2)
    (out_dir / 'classification.md').write_text(markdown_table(report), 'utf-8')


def save_best_classes(report: dict, best: dict, out_dir: str | Path) -> None:
    """Write best_classes.json: stream -> clip id -> classes, and what was tested."""
    facts = {key: report[key] for key in ('protocol', 'manifest', 'manifest_hash')}
    dump({**facts, 'best': best}, Path(out_dir) / BEST_CLASSES)


def save_class_plots(
    out_dir: str | Path, report: dict, confusions: np.ndarray | None
) -> list[Path]:
    """Save per_class.png and, with (C, C) counts, confusion_matrix.png."""
    out_dir = Path(out_dir)
    main = 'mAP' if report['task'] == 'multi_label' else 'mean_class_accuracy'
    title = f'{report["protocol"]}: {report["clips"]} clips, '
    title += f'{TITLES.get(main, main)} {cell(main, report[main])} %'
    value = 'AP' if report['task'] == 'multi_label' else 'accuracy'
    values = {row['class']: row[value] for row in report['per_class']}
    figures = {'per_class': class_bars_figure(values, value, title)}
    if confusions is not None:
        names = list(values)
        figures['confusion_matrix'] = confusion_figure(confusions, names, title)
    return [save_figure(fig, out_dir / f'{name}.png') for name, fig in figures.items()]
