"""Command lines of the tools that compare runs and measure models."""

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from coavt_mm.cli.commands import Command, setting
from coavt_mm.errors import CoAVTError, ConfigError


def _add_ablate(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0, 1, 2], help='a run for each'
    )
    parser.add_argument('--only', nargs='+', help="names, such as 'full' or 'no_at'")
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/ablations'),
        help='folder of the runs',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('docs/ablations.md'),
        help='page with the table; what is outside its marks stays',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        type=setting,
        default=[],
        metavar='KEY=VALUE',
        help='settings of all runs',
    )
    parser.add_argument(
        '--table-only', action='store_true', help='write table and plot, run nothing'
    )


def _ablate(args: Namespace) -> None:
    from coavt_mm.analysis.ablations import read_variants, run_variant, write_page

    variants = read_variants(args.only)
    for seed in args.seeds if not args.table_only else []:
        for name, variant in variants.items():
            folder = args.work_dir / name / f'seed_{seed}'
            run_variant(variant, folder, seed, args.cfg_options)
            write_page(args.work_dir, args.seeds, args.out)
    write_page(args.work_dir, args.seeds, args.out)


def _add_collect(parser: ArgumentParser) -> None:
    parser.add_argument('folders', nargs='+', help='work dirs, or files')
    parser.add_argument('--out', type=Path, help='Markdown file; default: the terminal')
    parser.add_argument('--csv', type=Path, help='CSV file, one number a line')
    parser.add_argument(
        '--metrics', nargs='+', help="those wanted, such as 'retrieval'; default: all"
    )


def _collect(args: Namespace) -> None:
    from coavt_mm.analysis.results import (
        find_results,
        markdown_tables,
        read_rows,
        write_csv,
    )

    found, others = find_results(args.folders)
    rows = [row for path in found for row in read_rows(path)]
    metrics = {row.facts['metric'] for row in rows}
    unknown = set(args.metrics or ()) - metrics
    if unknown:
        raise CoAVTError(
            f'no results of {", ".join(sorted(unknown))}; there are '
            f'{", ".join(sorted(metrics))}'
        )
    rows = [row for row in rows if row.facts['metric'] in (args.metrics or metrics)]
    if args.csv:
        write_csv(rows, args.csv)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(f'# Results\n\n{markdown_tables(rows)}', 'utf-8')
    else:
        print(markdown_tables(rows))
    print(
        f'{len(found)} files of results; {len(others)} other JSON files left out',
        file=sys.stderr,
    )


def _add_confusion(parser: ArgumentParser) -> None:
    parser.add_argument(
        'runs', nargs='+', help='out_dir of each run, with best_classes.json'
    )
    parser.add_argument(
        '--labels', required=True, help='manifest of the protocol vggsounder'
    )
    parser.add_argument('--out', type=Path, help='JSON file for the numbers')


def _confusion(args: Namespace) -> None:
    from coavt_mm.analysis.modality_confusion import markdown_table, modality_confusion

    report = modality_confusion(args.runs, args.labels)
    print(markdown_table(report))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')


def _add_stats(parser: ArgumentParser) -> None:
    parser.add_argument('config', help='path or name of a config with a CoAVT model')
    parser.add_argument('--train', action='store_true', help='take a training step')
    parser.add_argument('--batch', type=int, default=2, help='clips of that step')


def _stats(args: Namespace) -> None:
    from mmengine.registry import init_default_scope

    from coavt_mm.analysis.model_cost import (
        macs_by_step,
        parameters_by_part,
        training_step,
    )
    from coavt_mm.config import load_config
    from coavt_mm.registry import MODELS

    cfg = load_config(args.config)
    init_default_scope('coavt_mm')
    model = MODELS.build(cfg.model)
    parts = parameters_by_part(model)
    print('| part | parameters |\n|---|---|')
    for name, number in {**parts, 'all': sum(parts.values())}.items():
        print(f'| {name} | {number:,} |')
    print('\n| step | multiply-adds |\n|---|---|')
    for name, macs in macs_by_step(model).items():
        print(f'| {name} | {macs / 1e9:.2f} G |')
    if args.train:
        print('\n| training step | |\n|---|---|')
        for name, measured in training_step(model, args.batch).items():
            print(f'| {name} | {measured:.3f} |')


def _add_rescore(parser: ArgumentParser) -> None:
    from coavt_mm.evaluation.ranking import MODES, RENAMED

    parser.add_argument('features', help='file that features_file named')
    parser.add_argument(
        '--modes',
        nargs='+',
        choices=(*MODES, *RENAMED),
        metavar='MODE',
        default=['cosine'],
        help=f'of {", ".join(MODES)}',
    )
    parser.add_argument(
        '--equal-texts',
        action='store_true',
        help='a caption is right for every clip that carries it',
    )
    parser.add_argument('--topk', type=int, default=128, help='items to re-score')
    parser.add_argument(
        '--temperature', type=float, help='of the softmax modes; default: their own'
    )
    parser.add_argument('--out-dir', help='for retrieval.json, table and plots')
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--config', help='of the model, for the matching modes')
    parser.add_argument('--checkpoint', help='of the model, for the matching modes')


def _matching_model(config: str | None, checkpoint: str | None, device: str) -> Any:
    """The model of the matching modes, in evaluation."""
    from coavt_mm.checkpoints import load_weights
    from coavt_mm.config import load_config
    from coavt_mm.registry import MODELS

    if config is None or checkpoint is None:
        raise ConfigError('the matching modes need --config and --checkpoint')
    model = MODELS.build(load_config(config).model)
    for line in load_weights(checkpoint, model, strict=True):
        print(line)
    return model.to(device).eval()


def _rescore(args: Namespace) -> None:
    from mmengine.registry import init_default_scope

    from coavt_mm.evaluation import RetrievalMetric

    init_default_scope('coavt_mm')
    metric = RetrievalMetric(
        modes=args.modes,
        topk=args.topk,
        temperature=args.temperature,
        equal_texts=args.equal_texts,
        out_dir=args.out_dir,
        plots=args.out_dir is not None,
    )
    if metric.needs_tokens:
        metric.model = _matching_model(args.config, args.checkpoint, args.device)
    metric.evaluate_file(args.features, args.device)


ablate = Command(
    'Run the demo ablations over seeds.\n\n'
    'The table of variants is the config coavt_mm::coavt/ablations.py. Every run is\n'
    'trained and tested in a process of its own, one after the other. A run whose\n'
    'result lies in the work dir is not repeated, one that was interrupted goes on;\n'
    'table and plot are written anew after each.',
    _add_ablate,
    _ablate,
    ('ablate.py --only full no_at --seeds 0',),
)
collect_results = Command(
    'Gather the results of many evaluations into one page of tables and one CSV.\n\n'
    'Every JSON file below the folders that names its metric is read: retrieval.json,\n'
    'av_retrieval.json, classification.json, captioning.json, zeroshot.json, ... The\n'
    'CSV has every number unrounded; the tables leave out lists by class.',
    _add_collect,
    _collect,
    (
        'collect_results.py work_dirs --out all.md --csv all.csv',
        'collect_results.py work_dirs/a work_dirs/b --metrics retrieval',
    ),
)
modality_confusion = Command(
    "VGGSounder's modality confusion, from three runs: sound, picture, both.",
    _add_confusion,
    _confusion,
    (
        'modality_confusion.py work_dirs/A work_dirs/V work_dirs/AV '
        '--labels data/vggsound/vggsounder.jsonl',
    ),
)
model_stats = Command(
    'Parameters, multiply-adds and memory of the model of a config.\n\n'
    'With --train one training step with all losses is taken on noise and its memory\n'
    'measured.',
    _add_stats,
    _stats,
    ('model_stats.py coavt_mm::coavt/pretrain_demo.py --train',),
)
rescore = Command(
    'Score the features of an evaluation again, in other modes, without extracting\n'
    'them.\n\n'
    'RetrievalMetric(features_file=...) saves the features. The matching modes read\n'
    'the saved tokens with the query encoder, so they need a model; no clip is\n'
    'decoded.',
    _add_rescore,
    _rescore,
    (
        'rescore.py work_dirs/NAME/features.pth --modes cosine query_softmax '
        '--temperature 0.05 --out-dir work_dirs/NAME/again',
        'rescore.py work_dirs/NAME/features.pth --modes matching matching_only '
        '--topk 64 --config CONFIG --checkpoint FILE',
    ),
)
