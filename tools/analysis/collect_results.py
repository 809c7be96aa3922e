"""Tables of many results: ``collect_results.py WORK_DIR ...``."""

from coavt_mm.cli.analysis import collect_results
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(collect_results)
