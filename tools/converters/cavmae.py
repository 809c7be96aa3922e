"""As ``coavt convert cavmae``: ``cavmae.py SOURCE OUT``."""

from coavt_mm.cli.convert import COMMANDS
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(COMMANDS['cavmae'])
