"""Command lines of the tools that hand a model over to the tools of others."""

from argparse import ArgumentParser, Namespace

from coavt_mm.cli.commands import Command


def _add_evaluate(parser: ArgumentParser) -> None:
    parser.add_argument('checkpoint', help='of a CoAVT, or of its encoder alone')
    parser.add_argument('--config', help='where the checkpoint carries none')
    parser.add_argument('--benchmark', help="of MTEB, such as 'MVEB(v1)'")
    parser.add_argument(
        '--tasks', nargs='+', default=[], metavar='TASK', help='of MTEB, by name'
    )
    parser.add_argument(
        '--sounding-shapes', metavar='FOLDER', help="the demo's clips as tasks"
    )
    parser.add_argument(
        '--out', default='work_dirs/mteb', help="folder of MTEB's results; runs go on"
    )
    parser.add_argument('--name', help='organisation/model, in the results')
    parser.add_argument(
        '--trained-on', nargs='+', metavar='TASK', help='tasks whose data it has seen'
    )
    parser.add_argument(
        '--space',
        default='query',
        choices=('query', 'encoder'),
        help='encoder: mean tokens, for weights without trained queries; no texts',
    )
    parser.add_argument(
        '--on-error',
        default='raise',
        choices=('raise', 'zeros'),
        help='zeros: what can not be embedded gets zeros, and the task goes on',
    )
    parser.add_argument('--batch-size', type=int, default=16, help='windows at once')
    parser.add_argument('--device', help='default: a GPU if there is one')


def _evaluate(args: Namespace) -> None:
    from coavt_mm.outside.mteb_encoder import CoAVTEncoder
    from coavt_mm.outside.mteb_runs import chosen_tasks, line_of, run_tasks

    meta: dict = {'name': args.name} if args.name else {}
    if args.trained_on:
        meta['training_datasets'] = set(args.trained_on)
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


evaluate_mteb = Command(
    'Evaluate a CoAVT by tasks of MTEB (extra `mteb`).\n\n'
    "Its benchmarks of sound and video are downloaded by it; the demo's clips need no\n"
    'network. A line a task: the main score and R@1, in per cent.',
    _add_evaluate,
    _evaluate,
    examples=(
        'evaluate_mteb.py CHECKPOINT --sounding-shapes data/sounding_shapes',
        'evaluate_mteb.py CHECKPOINT --benchmark "MVEB(v1)"',
    ),
)


def _add_sentence(parser: ArgumentParser) -> None:
    parser.add_argument('checkpoint', help='of a CoAVT')
    parser.add_argument('folder', help='to write to')
    parser.add_argument('--config', help='where the checkpoint carries none')


def _sentence(args: Namespace) -> None:
    from coavt_mm.outside.sentence_module import sentence_transformer

    model = sentence_transformer(args.checkpoint, args.config)
    model.save_pretrained(args.folder, create_model_card=False)
    print(f'SentenceTransformer({args.folder!r}, trust_remote_code=True) loads it')


convert_sentence = Command(
    'Make a folder of a checkpoint that sentence-transformers loads.',
    _add_sentence,
    _sentence,
    examples=('sentence_transformer.py CHECKPOINT FOLDER',),
)
