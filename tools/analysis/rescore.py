"""Score saved features again: ``rescore.py FEATURES --modes MODE ...``."""

from coavt_mm.cli.analysis import rescore
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(rescore)
