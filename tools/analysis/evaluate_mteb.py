"""Evaluate a CoAVT by tasks of MTEB (extra ``mteb``): its public benchmarks of sound and
video, which it downloads, or the demo's clips.

    python tools/analysis/evaluate_mteb.py CHECKPOINT --sounding-shapes data/sounding_shapes
    python tools/analysis/evaluate_mteb.py CHECKPOINT --benchmark "MVEB(v1)"
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter

from coavt_mm.errors import CoAVTError

if __name__ == '__main__':
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint')
    parser.add_argument('--config', help='where the checkpoint carries none')
    parser.add_argument('--benchmark', help='such as "MVEB(v1)"')
    parser.add_argument('--tasks', nargs='+', default=[], metavar='TASK')
    parser.add_argument('--sounding-shapes', metavar='FOLDER')
    parser.add_argument('--out', default='work_dirs/mteb', help="mteb's results")
    parser.add_argument('--name', help='organisation/model')
    parser.add_argument('--saw', nargs='+', metavar='TASK', help='trained on')
    parser.add_argument('--space', default='query', choices=('query', 'encoder'))
    parser.add_argument('--on-error', default='raise', choices=('raise', 'zeros'))
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--device')
    args = parser.parse_args()
    from coavt_mm.outside.benchmark import chosen_tasks, line_of, run_tasks
    from coavt_mm.outside.mteb_encoder import CoAVTEncoder

    meta = {'name': args.name} if args.name else {}
    if args.saw:
        meta['training_datasets'] = set(args.saw)
    try:
        tasks = chosen_tasks(args.benchmark, args.tasks, args.sounding_shapes)
        encoder = CoAVTEncoder(
            args.checkpoint,
            device=args.device,
            config=args.config,
            space=args.space,
            on_error=args.on_error,
            **meta,
        )
        for row in run_tasks(encoder, tasks, args.out, args.batch_size):
            print(line_of(row), flush=True)
    except CoAVTError as error:
        raise SystemExit(f'error: {error}') from error
