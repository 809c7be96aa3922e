"""Draw what changes by plan: ``vis_scheduler.py CONFIG -s FILE``."""

from coavt_mm.cli.inspecting import vis_scheduler
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(vis_scheduler)
