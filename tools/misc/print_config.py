"""Print a whole config: ``python tools/misc/print_config.py CONFIG``."""

from coavt_mm.cli.inspecting import print_config
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(print_config)
