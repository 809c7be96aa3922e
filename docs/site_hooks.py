"""What mkdocs.yml needs beside its plug-ins: pages outside of docs/, and roles.

Pages link to each other by their place in the repository, which a Git host follows. On
the site those from outside of docs/ are below ``repository/``, and links are changed to
that. A link to what is no page, such as a config, keeps its text only. Docstrings refer
to each other by Sphinx's roles (``:func:`embed```).
"""

import os
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
DOCS, OUTER = 'docs/', 'repository/'
PATTERNS = (
    '*.md',
    'coavt_mm/datasets/labels/README.md',
    'configs/coavt/README.md',
    'projects/*/README.md',
)
LINK = re.compile(r'(!?\[[^\]]*\])\(([^)#:\s]+)(#[^)\s]*)?\)')
ROLE = re.compile(r':(?:class|func|meth):<code>~?([\w.]*?)(\w+)</code>')


def outer_pages() -> list[str]:
    """Pages outside of docs/ that the site has, relative to the repository."""
    found = [path for pattern in PATTERNS for path in ROOT.glob(pattern)]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def on_files(files, config):
    """Add the outer pages."""
    for path in outer_pages():
        source = str(ROOT / path)
        files.append(File.generated(config, OUTER + path, abs_src_path=source))
    return files


def on_page_markdown(markdown, page, config, files):
    """Change links between docs/ and the pages outside of it."""
    here = page.file.src_uri
    return LINK.sub(lambda link: moved(here, *link.groups()), markdown)


def moved(here: str, text: str, target: str, anchor: str | None) -> str:
    """A link of the page ``here`` as the site needs it."""
    outer = here.startswith(OUTER)
    place = here.removeprefix(OUTER) if outer else DOCS + here
    path = os.path.normpath(os.path.join(os.path.dirname(place), target))
    if path.startswith(DOCS):
        path = path.removeprefix(DOCS)
    elif path in outer_pages():
        path = OUTER + path
    elif (ROOT / path).exists():
        return text[1:-1]
    return f'{text}({os.path.relpath(path, os.path.dirname(here))}{anchor or ""})'


def on_page_content(html, page, config, files):
    """Show a name that a docstring refers to as code, with a link if it has a place."""
    link = r'<autoref identifier="\1\2" optional><code>\2</code></autoref>'
    return ROLE.sub(link, html)
