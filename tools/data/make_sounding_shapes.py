"""Render the demo data: ``make_sounding_shapes.py DIR``."""

from coavt_mm.cli.launch import run_tool
from coavt_mm.cli.prepare import COMMANDS

if __name__ == '__main__':
    run_tool(COMMANDS['sounding-shapes'])
