"""Write the manifest of a named evaluation protocol.

Example: python tools/data/make_protocol.py vggsound-av-5 data/vggsound/test.jsonl
"""

import argparse

from coavt_mm.preparation.protocols import PROTOCOLS, make_protocol
from coavt_mm.cli.launch import run_tool


def main() -> None:
    known = '\n'.join(f'  {name:24}{p.about}' for name, p in PROTOCOLS.items())
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=f'protocols:\n{known}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('name', metavar='PROTOCOL')
    parser.add_argument('manifest', help='of the whole test set')
    parser.add_argument('--out', help='default: PROTOCOL.jsonl beside the manifest')
    parser.add_argument('--ids', help='list of ids: text, csv or manifest (.jsonl)')
    parser.add_argument('--relabels', help='vggsounder.csv')
    parser.add_argument('--seed', type=int, default=0, help='of the draw')
    sidecar = make_protocol(**vars(parser.parse_args()))
    sidecar.pop('classes', None)
    print(', '.join(f'{key}: {value}' for key, value in sidecar.items()))


if __name__ == '__main__':
    run_tool(main)
