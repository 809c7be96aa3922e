"""Command lines: everything that ``tools/`` opens a door to."""
