"""Curves and step times: ``analyze_logs.py plot_curve|cal_train_time RUN ...``."""

from coavt_mm.cli.inspecting import analyze_logs
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(analyze_logs)
