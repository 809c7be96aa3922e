"""Test clips in the training set: ``check_leak.py TRAIN TEST``."""

from coavt_mm.cli.data import check_leak
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(check_leak)
