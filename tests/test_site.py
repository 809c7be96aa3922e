"""The documentation as a site: what mkdocs.yml lists, and what its pages link to."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from documents import FENCE, PAGES, ROOT
from mmengine.registry import Registry

from coavt_mm import registry

DOCS = ROOT / 'docs'
LINK = re.compile(r'\]\(([^)\s]+)\)')
EXTRAS = ('datasets', 'mteb', 'sentence_transformers')
OBJECT = re.compile(r'^::: (\S+)$', re.MULTILINE)


class Loader(yaml.SafeLoader):
    """Reads ``!!python/name:...`` as nothing."""


Loader.add_multi_constructor('tag:yaml.org,2002:python/', lambda *_: None)
SITE = yaml.load((ROOT / 'mkdocs.yml').read_text(), Loader)


def pages_of(nav):
    """The paths in a nav, in order."""
    if isinstance(nav, str):
        return [nav]
    parts = nav if isinstance(nav, list) else nav.values()
    return [page for part in parts for page in pages_of(part)]


def anchors(page):
    """Anchors of the headings of a page, as Git hosts make them."""
    text = FENCE.sub('', page.read_text('utf-8'))
    titles = re.findall(r'^#+ (.+)$', text, re.MULTILINE)
    plain = [re.sub(r'[^\w\- ]', '', title.lower()) for title in titles]
    return {title.strip().replace(' ', '-') for title in plain}


def test_every_page_is_in_the_nav_once():
    listed = pages_of(SITE['nav'])
    own = [page for page in listed if not page.startswith('repository/')]
    assert sorted(own) == sorted(
        page.relative_to(DOCS).as_posix() for page in DOCS.rglob('*.md')
    )
    assert len(set(listed)) == len(listed)


def test_every_page_from_elsewhere_is_in_the_nav():
    pytest.importorskip('mkdocs')
    spec = importlib.util.spec_from_file_location('hooks', DOCS / 'site_hooks.py')
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    listed = {page for page in pages_of(SITE['nav']) if page.startswith('repository/')}
    assert listed == {f'repository/{page}' for page in hooks.outer_pages()}
    moved = hooks.moved('data.md', '[x]', '../configs/coavt/README.md', None)
    assert moved == '[x](repository/configs/coavt/README.md)'
    moved = hooks.moved('repository/SECURITY.md', '[x]', 'docs/data.md', '#leaks')
    assert moved == '[x](../data.md#leaks)'
    assert hooks.moved('repository/README.md', '[x]', 'CITATION.cff', None) == 'x'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """On a Git host; the build checks the site's."""
    for link in LINK.findall(FENCE.sub('', page.read_text('utf-8'))):
        target, _, anchor = link.partition('#')
        if ':' in target:
            continue
        path = Path(os.path.normpath(page.parent / target)) if target else page
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path), link


def test_the_reference_has_every_type_that_a_config_may_name():
    text = '\n'.join(page.read_text() for page in (DOCS / 'reference').glob('*.md'))
    named = {name.rpartition('.')[2] for name in OBJECT.findall(text)}
    for node in vars(registry).values():
        if isinstance(node, Registry):
            node.import_from_location()
            for name, made in node.module_dict.items():
                if not made.__module__.startswith('coavt_mm.'):
                    continue  # of other tests
                shown = made.__name__ if inspect.isclass(made) else 'build_tokenizer'
                assert shown in named, f'{node.name}: list {name} in docs/reference'


def test_the_reference_names_what_exists():
    for page in (DOCS / 'reference').glob('*.md'):
        for name in OBJECT.findall(page.read_text()):
            module, _, last = name.rpartition('.')
            try:
                assert hasattr(importlib.import_module(module), last), name
            except (
                ModuleNotFoundError
            ) as error:  # an extra, with its tests, is left out
                assert error.name in EXTRAS, name


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-d', str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'reference/models/index.html').is_file()
