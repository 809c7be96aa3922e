"""Many calls of one model at the same time: the answers are those of one by one.

python tests/soak/many_calls.py --count 200 --threads 16 [--checkpoint FILE]
"""

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]


def main() -> int:
    from concurrent_calls import ask, at_once, drawn_calls, same
    from media_files import write_clip
    from tiny_parts import HOME, model

    from coavt_mm.apis import CoAVTInferencer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=200, help='calls')
    parser.add_argument('--threads', type=int, default=16)
    parser.add_argument('--seed', type=int, default=0, help='of what is asked')
    parser.add_argument('--checkpoint', help='default: a tiny one, made for this')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory() as folder:
        HOME[:] = [Path(folder)]
        asked = model()
        if args.checkpoint:
            asked = CoAVTInferencer(None, args.checkpoint, 'cpu', show_progress=False)
        options = [dict(), dict(sound=False), dict(picture=False), dict(size=(65, 37))]
        clips = [
            str(write_clip(Path(folder) / f'{i}.mp4', seconds=0.5, **more))
            for i, more in enumerate(options)
        ]
        calls = drawn_calls(args.count, clips, args.seed)
        begun = time.monotonic()
        alone = [ask(asked, call) for call in calls]
        middle = time.monotonic()
        together = at_once(asked, calls, args.threads)
        ended = time.monotonic()
    wrong = [i for i, pair in enumerate(zip(alone, together, strict=True))
             if not same(*pair)]  # fmt: skip
    errors = sum(isinstance(answer, str) for answer in alone)
    print(
        f'{args.count} calls in {args.threads} threads, {errors} of them wrong: '
        f'{len(wrong)} answers differ {wrong[:10]}; {ended - middle:.1f} s, one by one '
        f'{middle - begun:.1f} s'
    )
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
