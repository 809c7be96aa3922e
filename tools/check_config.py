"""All that is wrong with a config, and what it takes: ``check_config.py CONFIG``."""

from coavt_mm.cli.check import check
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(check)
