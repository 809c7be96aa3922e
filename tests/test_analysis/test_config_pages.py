from pathlib import Path

from coavt_mm.analysis.config_pages import config_pages

ROOT = Path(__file__).parents[2]


def test_the_readmes_of_configs_are_up_to_date():
    """If not: python tools/misc/make_config_readmes.py."""
    for path, text in config_pages(ROOT).items():
        assert path.read_text('utf-8') == text, path


def test_every_config_has_a_row_and_says_what_was_not_measured():
    for path, text in config_pages(ROOT).items():
        for config in path.parent.glob('*.py'):
            (row,) = [x for x in text.splitlines() if f'({config.name})' in x]
            assert (
                config.stem == 'ablations'
                or any(c.isdigit() for c in row.rsplit('|', 2)[1])
                or 'not measured' in row
                or 'none is meant' in row
            )
