"""Weights alone, named by hash: ``publish_model.py CHECKPOINT NAME.pth``."""

from coavt_mm.cli.inspecting import publish_model
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(publish_model)
