"""Mean and std of the log-mel energies of a manifest, as lines for the config.

Example: python tools/data/audio_stats.py data/vggsound/train.jsonl --clips 5000
"""

import argparse
import os

from coavt_mm.analysis.audio_statistics import audio_statistics
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('manifest')
    parser.add_argument('--data-root', help="default: the manifest's folder")
    parser.add_argument('--seconds', type=float, default=10.0, help='of a clip, in s')
    parser.add_argument('--clips', type=int, help='how many to draw; default: all')
    parser.add_argument('--seed', type=int, default=0, help='of the draw')
    parser.add_argument('--workers', type=int, default=os.cpu_count())
    parser.add_argument('--num-mel-bins', type=int, default=128)
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
    args = vars(parser.parse_args())
    divisor, root = args.pop('divisor'), args.pop('data_root')
    root = root or os.path.dirname(args['manifest'])
    found = audio_statistics(data_root=root, **args)
    print(
        f'# {args["manifest"]}: {found["clips"]} clips with sound, {found["frames"]} '
        f'frames; {found["soundless"]} silent or without, {found["unreadable"]} unreadable'
    )
    print(
        f'data_preprocessor=dict(spec_mean={found["mean"]:.4f}, '
        f'spec_std={found["std"]:.4f}, spec_divisor={divisor:g})'
    )


if __name__ == '__main__':
    run_tool(main)
