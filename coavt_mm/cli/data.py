"""Tools that look at manifests, and make new ones of them."""

import os
from argparse import ArgumentParser, Namespace

from coavt_mm.cli.commands import Command
from coavt_mm.errors import shown


def _add_stats(parser: ArgumentParser) -> None:
    parser.add_argument('manifest', help='clips whose sound is measured')
    parser.add_argument('--data-root', help="default: the manifest's folder")
    parser.add_argument('--seconds', type=float, default=10.0, help='of a clip, in s')
    parser.add_argument('--clips', type=int, help='how many to draw; default: all')
    parser.add_argument('--seed', type=int, default=0, help='of the draw')
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes that measure'
    )
    parser.add_argument('--num-mel-bins', type=int, default=128, help='mel bins')
    parser.add_argument(
        '--silence-dbfs',
        type=float,
        default=-60.0,
        help='clips whose peak lies below are left out, dB relative to full scale',
    )
    parser.add_argument(
        '--divisor',
        type=float,
        default=1.0,
        help='the spectrogram is divided by this times std; some projects take 2',
    )


def _stats(args: Namespace) -> None:
    from coavt_mm.analysis.audio_statistics import audio_statistics

    options = dict(vars(args))
    divisor, root = options.pop('divisor'), options.pop('data_root')
    root = root or os.path.dirname(args.manifest)
    found = audio_statistics(data_root=root, **options)
    print(
        f'# {args.manifest}: {found["clips"]} clips with sound, {found["frames"]} '
        f'frames; {found["soundless"]} silent or without, '
        f'{found["unreadable"]} unreadable'
    )
    print(
        f'data_preprocessor=dict(spec_mean={found["mean"]:.4f}, '
        f'spec_std={found["std"]:.4f}, spec_divisor={divisor:g})'
    )


def _add_leak(parser: ArgumentParser) -> None:
    parser.add_argument('train', help='manifest that clips may be taken out of')
    parser.add_argument('test', help='manifest that stays as it is')
    parser.add_argument('--out', help='list for the option exclude of AVTDataset')
    parser.add_argument(
        '--content', action='store_true', help="compare the files' bytes as well"
    )
    parser.add_argument('--train-root', default='', help="default: manifest's folder")
    parser.add_argument('--test-root', default='', help="default: manifest's folder")


def _leak(args: Namespace) -> None:
    from coavt_mm.preparation.leaks import find_leaks, write_exclusion_list

    leaks = find_leaks(
        args.train, args.test, args.content, args.train_root, args.test_root
    )
    clips = len(set(leaks.values()))
    print(
        f'{len(leaks)} clips of {args.train} are in {args.test} ({clips} clips there)'
    )
    for name, other in list(leaks.items())[:10]:
        print(shown(f'  {name} = {other}'))
    if args.out:
        write_exclusion_list(args.out, leaks, args.train, args.test)
    if args.out and not leaks:
        print(f'{args.out} has no ids and leaves nothing out')
    elif args.out:
        print(f"exclude='{args.out}' in the data set's config leaves them out")


def _add_inspect(parser: ArgumentParser) -> None:
    parser.add_argument('manifest', help='the corpus')
    parser.add_argument('--data-root', help="default: the manifest's folder")
    parser.add_argument('--out', default='look', help='folder for the pictures')
    parser.add_argument('--clips', type=int, default=8, help='clips to show')
    parser.add_argument('--probes', type=int, default=1000, help='lengths to look up')
    parser.add_argument('--seed', type=int, default=0, help='of the draws')
    parser.add_argument('--seconds', type=float, default=10.0, help='of sound, in s')
    parser.add_argument(
        '--templates', nargs='+', default=['{}'], help='text of labels without captions'
    )


def _say_texts(manifest: str, templates: list[str]) -> None:
    """Print what equal texts allow at best, under either rule."""
    from coavt_mm.analysis.corpus import manifest_texts
    from coavt_mm.datasets.manifest import find_manifest
    from coavt_mm.evaluation.text_ceilings import (
        ceilings_table,
        say_shared,
        shared_texts,
        text_ceilings,
    )

    texts = manifest_texts(find_manifest(manifest), templates)
    for stream, groups in texts.items():
        print(f'{stream}: {say_shared(shared_texts(groups))}')
    if texts:
        print(ceilings_table({s: text_ceilings(g) for s, g in texts.items()}))


def _inspect(args: Namespace) -> None:
    from coavt_mm.analysis.corpus import inspect_manifest

    options = dict(vars(args))
    _say_texts(args.manifest, options.pop('templates'))
    root = options.pop('data_root') or os.path.dirname(args.manifest)
    out_dir = options.pop('out')
    for path in inspect_manifest(data_root=root, out_dir=out_dir, **options):
        print(path)


def _add_protocol(parser: ArgumentParser) -> None:
    from coavt_mm.preparation.protocols import PROTOCOLS

    known = ''.join(f'\n  {name:24}{p.about}' for name, p in PROTOCOLS.items())
    parser.epilog = f'protocols:{known}\n\n{parser.epilog}'
    parser.add_argument('name', metavar='PROTOCOL', help='one of those below')
    parser.add_argument('manifest', help='of the whole test set')
    parser.add_argument('--out', help='default: PROTOCOL.jsonl beside the manifest')
    parser.add_argument('--ids', help='list of ids: text, csv or manifest (.jsonl)')
    parser.add_argument('--relabels', help='vggsounder.csv')
    parser.add_argument('--seed', type=int, default=0, help='of the draw')


def _protocol(args: Namespace) -> None:
    from coavt_mm.preparation.protocols import make_protocol

    sidecar = make_protocol(**vars(args))
    sidecar.pop('classes', None)
    print(shown(', '.join(f'{key}: {value}' for key, value in sidecar.items())))


audio_stats = Command(
    'Mean and std of the log-mel energies of a manifest, as lines for the config.',
    _add_stats,
    _stats,
    ('audio_stats.py data/vggsound/train.jsonl --clips 5000',),
)
check_leak = Command(
    'Compare a training with a test manifest, and list what is to be left out.',
    _add_leak,
    _leak,
    (
        'check_leak.py data/audioset/unbalanced_train.jsonl data/audiocaps/test.jsonl '
        '--out data/audioset/not_audiocaps_test.txt',
    ),
)
inspect_manifest = Command(
    'Look at a corpus: a sheet of clips, histograms of lengths and labels, and how\n'
    'far retrieval can get where clips share a text.',
    _add_inspect,
    _inspect,
    ('inspect_manifest.py data/vggsound/train.jsonl --out look',),
)
make_protocol = Command(
    'Write the manifest of a named evaluation protocol.',
    _add_protocol,
    _protocol,
    ('make_protocol.py vggsound-av-5 data/vggsound/test.jsonl',),
)
