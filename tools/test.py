"""Evaluate: ``python tools/test.py CONFIG CHECKPOINT [--work-dir DIR] ...``."""

from coavt_mm.cli.launch import run_tool, test

if __name__ == '__main__':
    run_tool(test)
