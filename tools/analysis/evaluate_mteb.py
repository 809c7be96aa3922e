"""Evaluate a CoAVT by tasks of MTEB: ``evaluate_mteb.py CHECKPOINT --tasks NAME``."""

from coavt_mm.cli.launch import run_tool
from coavt_mm.cli.outside import evaluate_mteb

if __name__ == '__main__':
    run_tool(evaluate_mteb)
