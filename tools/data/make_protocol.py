"""A protocol's manifest: ``make_protocol.py PROTOCOL MANIFEST``."""

from coavt_mm.cli.data import make_protocol
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(make_protocol)
