"""Registries of the scope ``coavt_mm``, children of mmengine's.

Each node names the modules it is filled from, so a config with
``default_scope='coavt_mm'`` or a prefixed ``type='coavt_mm.X'`` finds its classes
without ``custom_imports`` of the sub-packages.
"""

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry


def _node(name: str, *modules: str) -> Registry:
    parent = getattr(mmengine_registry, name)
    return Registry(
        parent.name,
        parent=parent,
        scope='coavt_mm',
        locations=[f'coavt_mm.{module}' for module in modules],
    )


MODELS = _node('MODELS', 'models')
DATASETS = _node('DATASETS', 'datasets')
DATA_SAMPLERS = _node('DATA_SAMPLERS', 'datasets')
TRANSFORMS = _node('TRANSFORMS', 'datasets', 'openmmlab')
METRICS = _node('METRICS', 'evaluation', 'demo.metric')
HOOKS = _node('HOOKS', 'engine', 'demo.curriculum')
LOOPS = _node('LOOPS', 'engine')
OPTIM_WRAPPERS = _node('OPTIM_WRAPPERS', 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _node('OPTIM_WRAPPER_CONSTRUCTORS', 'engine')
PARAM_SCHEDULERS = _node('PARAM_SCHEDULERS', 'engine')
WEIGHT_INITIALIZERS = _node('WEIGHT_INITIALIZERS', 'engine')
VISUALIZERS = _node('VISUALIZERS', 'visualization')
TOKENIZERS = Registry(
    'tokenizer', scope='coavt_mm', locations=['coavt_mm.datasets.tokenizer']
)
INFERENCERS = _node('INFERENCERS', 'apis')
