"""Train: ``python tools/train.py CONFIG [--work-dir DIR] [--resume] ...``."""

from coavt_mm.cli.launch import run_tool, train

if __name__ == '__main__':
    run_tool(train)
