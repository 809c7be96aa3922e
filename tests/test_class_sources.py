from pathlib import Path

import pytest
from mmengine.config import Config

from coavt_mm import class_sources
from coavt_mm.config_options import _find_class, constructor_arguments
from coavt_mm.config_variables import walk

ROOT = Path(__file__).parents[1]


def types_of_configs():
    """Every ``type`` of the configs that are shipped."""
    files = sorted((ROOT / 'configs').rglob('*.py'))
    nodes = (value for f in files for path, value in walk(Config.fromfile(str(f))))
    found = {n['type'] for n in nodes if isinstance(n, dict) and 'type' in n}
    found.remove('FSDP2')  # a way to wrap the model and no class
    return sorted(name for name in found if isinstance(name, str))


def test_the_sources_say_what_the_classes_say():
    names = types_of_configs()
    told = {name: class_sources.arguments_of(name) for name in names}
    assert len(names) > 50 and all(taken is not None for taken in told.values())
    for name, taken in told.items():
        assert taken == constructor_arguments(_find_class(name, 'coavt_mm')), name


def test_names_that_are_registered_differ_from_those_of_classes():
    taken = class_sources.arguments_of('PretrainedPart')  # the old one of two
    assert taken and taken == class_sources.arguments_of('Converted')


@pytest.mark.parametrize('name', ['Conv2d', 'mmaction.Resize', 'NoSuchThing', ''])
def test_what_the_sources_do_not_tell_is_left_to_others(name):
    assert class_sources.arguments_of(name) is None
    assert not class_sources.is_own(name)


def test_another_scope_has_other_classes():
    own = class_sources.arguments_of('CheckpointHook')
    theirs = class_sources.arguments_of('CheckpointHook', 'mmengine')
    assert theirs == class_sources.arguments_of('mmengine.CheckpointHook')
    assert own is not None and theirs is not None
    assert class_sources.is_own('CoAVT')
    assert not class_sources.is_own('CoAVT', 'mmaction')
    assert class_sources.arguments_of('CoAVT', 'mmaction') is None


SOURCE = """
from dataclasses import dataclass
@MODELS.register_module()
@dataclass
class Two:
    x: int
@MODELS.register_module()
class Far(elsewhere.Base):
    def __init__(self, a, **kwargs): ...
@MODELS.register_module()
class Near(Base):
    def __init__(self, a, *, b=1, **kwargs): ...
class Base(nn.Module):
    def __init__(self, c): ...
"""


def test_a_class_whose_bases_can_not_be_read(tmp_path):
    file = tmp_path / 'module.py'
    file.write_text(SOURCE)
    assert class_sources._taken(file, 'Two') is None
    assert class_sources._taken(file, 'Far') is None
    assert class_sources._taken(file, 'Near') == {'a', 'b', 'c'}


def test_words_that_may_be_registered_by_other_means():
    assert class_sources.may_be_registered('Conv2d')
    assert not class_sources.may_be_registered('CoAVTT')
