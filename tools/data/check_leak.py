"""Compare a training with a test manifest, and list what is to be left out.

Example: python tools/data/check_leak.py data/audioset/unbalanced_train.jsonl \
    data/audiocaps/test.jsonl --out data/audioset/not_audiocaps_test.txt
"""

import argparse

from coavt_mm.preparation.leaks import find_leaks, write_exclusion_list
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('train', help='manifest that clips may be taken out of')
    parser.add_argument('test', help='manifest that stays as it is')
    parser.add_argument('--out', help='list for the option exclude of AVTDataset')
    parser.add_argument(
        '--content', action='store_true', help="compare the files' bytes as well"
    )
    parser.add_argument('--train-root', default='', help="default: manifest's folder")
    parser.add_argument('--test-root', default='', help="default: manifest's folder")
    args = parser.parse_args()
    leaks = find_leaks(
        args.train, args.test, args.content, args.train_root, args.test_root
    )
    clips = len(set(leaks.values()))
    print(
        f'{len(leaks)} clips of {args.train} are in {args.test} ({clips} clips there)'
    )
    for name, other in list(leaks.items())[:10]:
        print(f'  {name} = {other}')
    if args.out:
        write_exclusion_list(args.out, leaks, args.train, args.test)
    if args.out and not leaks:
        print(f'{args.out} has no ids and leaves nothing out')
    elif args.out:
        print(f"exclude='{args.out}' in the data set's config leaves them out")


if __name__ == '__main__':
    run_tool(main)
