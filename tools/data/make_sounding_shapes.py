"""Render the demo data, Sounding Shapes.

Example: python tools/data/make_sounding_shapes.py data/sounding_shapes --workers 2
"""

import argparse
import os
import sys
from dataclasses import fields

from coavt_mm.demo import Settings, make_sounding_shapes
from coavt_mm.errors import CoAVTError

HELP = {
    'train_clips': 'training clips',
    'test_clips': 'test clips; their combinations never occur in training',
    'val_clips': 'validation clips, with combinations of their own; may be 0',
    'seed': 'seed of everything',
    'size': 'width and height in pixels, even',
    'fps': 'frames per second',
    'seconds': 'length of a clip in s',
    'sample_rate': 'sample rate of the sound in Hz',
    'bound': 'bind sound and picture to each other, for audio-visual retrieval',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('out_dir', help='directory to write to')
    for field in fields(Settings):
        kind = {'action': 'store_true'} if field.type is bool else {'type': field.type}
        parser.add_argument(
            '--' + field.name.replace('_', '-'),
            default=field.default,
            help=HELP[field.name],
            **kind,
        )
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes that render'
    )
    return parser.parse_args()


def main() -> None:
    args = vars(parse_args())
    out_dir, workers = args.pop('out_dir'), args.pop('workers')
    try:
        rendered = make_sounding_shapes(out_dir, Settings(**args), workers)
    except CoAVTError as error:
        sys.exit(f'{type(error).__name__}: {error}')
    print(f'{out_dir}: complete, {rendered} clips rendered now')


if __name__ == '__main__':
    main()
