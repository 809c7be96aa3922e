"""Mean and std of spectrograms: ``audio_stats.py MANIFEST``."""

from coavt_mm.cli.data import audio_stats
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(audio_stats)
