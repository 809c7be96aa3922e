"""Pack clips: ``make_shards.py MANIFEST DIR``, as ``coavt shards``."""

from coavt_mm.cli.launch import run_tool
from coavt_mm.cli.shards import shards

if __name__ == '__main__':
    run_tool(shards)
