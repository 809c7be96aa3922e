"""Measure how well a model tells whether sound and picture belong together.

``exchanged``: clips with their own sound and with that of others; ``shifted``: long
clips, which ``python tools/analysis/check_search.py glue`` makes, with their sound
shifted by known times.
"""

import json
from argparse import ArgumentParser

if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='check', required=True)
    exchanged = commands.add_parser('exchanged')
    exchanged.add_argument('checkpoint')
    exchanged.add_argument('manifest', help='clips with labels (.jsonl)')
    shifted = commands.add_parser('shifted')
    shifted.add_argument('checkpoint')
    shifted.add_argument('folder', help='with long clips')
    options = vars(parser.parse_args())

    from coavt_mm.analysis import sound_checks
    from coavt_mm.apis import load_model

    check = getattr(sound_checks, f'check_{options.pop("check")}')
    model = load_model(options.pop('checkpoint'), show_progress=False)
    print(json.dumps(check(model, *options.values()), indent=1))
