"""Measure a search index: how good, how quick, how safe.

``recall``: ask with captions; ``moments``: ask for moments in long clips, which
``glue`` makes; ``kills``: kill indexing; ``speed``: a million vectors.
"""

import json
from argparse import ArgumentParser

if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='check', required=True)
    recall = commands.add_parser('recall')
    recall.add_argument('index')
    recall.add_argument('manifest')
    glue = commands.add_parser('glue')
    glue.add_argument('manifest')
    glue.add_argument('out_dir')
    glue.add_argument('--clips', type=int, default=40)
    glue.add_argument('--pieces', type=int, default=12)
    glue.add_argument('--lead', type=float, default=1.3, help='s')
    moments = commands.add_parser('moments')
    moments.add_argument('index')
    moments.add_argument('moments', help='moments.jsonl of the long clips')
    kills = commands.add_parser('kills')
    kills.add_argument('places', nargs='+')
    kills.add_argument('--checkpoint', required=True)
    kills.add_argument('--kills', type=int, default=20)
    speed = commands.add_parser('speed')
    speed.add_argument('--count', type=int, default=1_000_000)
    speed.add_argument('--width', type=int, default=256)
    speed.add_argument('--clusters', type=int, default=10_000, help='0: random')
    speed.add_argument('--store', dest='address', default='embedded')
    options = vars(parser.parse_args())
    check = options.pop('check')
    if check == 'glue':
        from coavt_mm.demo.gluing import glue_clips

        print(glue_clips(**options))
    else:
        from coavt_mm.analysis import search_checks

        renamed = {'index': 'index_dir'}
        options = {renamed.get(key, key): value for key, value in options.items()}
        found = getattr(search_checks, f'check_{check}')(**options)
        print(json.dumps(found, indent=1))
