"""The index that OpenMMLab's tools read names what is there, and all of it."""

from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config

from coavt_mm.registry import MODELS

ROOT = Path(__file__).parents[1]
FILES = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
METAFILES = [yaml.safe_load((ROOT / file).read_text()) for file in FILES]
ENTRIES = [model for metafile in METAFILES for model in metafile['Models']]


def test_every_main_config_is_named_once():
    named = sorted(entry['Config'] for entry in ENTRIES)
    shipped = sorted(
        str(path.relative_to(ROOT))
        for folder in ('coavt', 'peers')
        for path in (ROOT / 'configs' / folder).glob('*.py')
        if path.stem != 'ablations'  # a table of options of the others
    )
    assert named == shipped
    assert [entry['Name'] for entry in ENTRIES] == [
        Path(entry['Config']).stem for entry in ENTRIES
    ]


def test_collections_exist():
    collections = [c for metafile in METAFILES for c in metafile['Collections']]
    for collection in collections:
        assert (ROOT / collection['README']).is_file()
    names = {collection['Name'] for collection in collections}
    assert {entry['In Collection'] for entry in ENTRIES} == names


@pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: entry['Name'])
def test_entry(entry):
    """A cell is a number or says that there is none; no weights without a number."""
    cells = [v for result in entry['Results'] for v in result['Metrics'].values()]
    assert all(v == 'not measured' or isinstance(v, int | float) for v in cells)
    if 'Weights' in entry:
        assert all(v != 'not measured' for v in cells)
    if 'Parameters' in entry['Metadata']:
        with torch.device('meta'):
            model = MODELS.build(Config.fromfile(ROOT / entry['Config']).model)
        count = sum(p.numel() for p in model.parameters())
        assert entry['Metadata']['Parameters'] == count
