"""The demo ablations over seeds: ``python tools/analysis/ablate.py``."""

from coavt_mm.cli.analysis import ablate
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(ablate)
