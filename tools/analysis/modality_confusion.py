"""Modality confusion: ``modality_confusion.py A V AV --labels FILE``."""

from coavt_mm.cli.analysis import modality_confusion
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(modality_confusion)
