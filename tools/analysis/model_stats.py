"""Parameters, multiply-adds, memory: ``model_stats.py CONFIG``."""

from coavt_mm.cli.analysis import model_stats
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(model_stats)
