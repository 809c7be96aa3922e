"""Draw what the model sees: ``browse_dataset.py CONFIG -o DIR``."""

from coavt_mm.cli.inspecting import browse_dataset
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(browse_dataset)
