"""The demo, as ``coavt demo``: ``python tools/demo.py``."""

from coavt_mm.cli.demo import demo
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(demo)
