"""Write a checkpoint for sentence-transformers: ``... CHECKPOINT FOLDER``."""

from coavt_mm.cli.launch import run_tool
from coavt_mm.cli.outside import convert_sentence

if __name__ == '__main__':
    run_tool(convert_sentence)
