"""Own clips: ``python tools/infer.py TASK CHECKPOINT CLIP ... [--texts TEXT ...]``.

Tasks: caption, classify, retrieve, match, embed, visualize. See docs/quickstart.md.
"""

from coavt_mm.cli.infer import main
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(main)
