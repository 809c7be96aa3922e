"""Look at a corpus: ``inspect_manifest.py MANIFEST --out DIR``.

(It isn't called inspect.py: a script's folder comes first in Python's search path, and
all tools here would import it for the standard library's module of that name.)
"""

from coavt_mm.cli.data import inspect_manifest
from coavt_mm.cli.launch import run_tool

if __name__ == '__main__':
    run_tool(inspect_manifest)
