"""Write the README of each folder of configs: ``make_config_readmes.py``."""

from pathlib import Path

from coavt_mm.analysis.config_pages import write_config_pages

if __name__ == '__main__':
    print(*write_config_pages(Path(__file__).resolve().parents[2]), sep='\n')
