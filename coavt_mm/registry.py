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


# What runs a training or a test
RUNNERS = _node('RUNNERS', 'engine')
RUNNER_CONSTRUCTORS = _node('RUNNER_CONSTRUCTORS', 'engine')
STRATEGIES = _node('STRATEGIES', 'engine.strategies')  # which imports deepspeed
LOOPS = _node('LOOPS', 'engine')
HOOKS = _node('HOOKS', 'engine', 'demo.curriculum')
LOG_PROCESSORS = _node('LOG_PROCESSORS', 'engine')
OPTIMIZERS = _node('OPTIMIZERS', 'engine')
OPTIM_WRAPPERS = _node('OPTIM_WRAPPERS', 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _node('OPTIM_WRAPPER_CONSTRUCTORS', 'engine')
PARAM_SCHEDULERS = _node('PARAM_SCHEDULERS', 'engine')
# Data
DATASETS = _node(
    'DATASETS', 'datasets.concat', 'datasets.dataset', 'datasets.shards.dataset'
)
DATA_SAMPLERS = _node('DATA_SAMPLERS', 'datasets.samplers', 'datasets.shards.sampler')
TRANSFORMS = _node('TRANSFORMS', 'datasets.transforms', 'openmmlab')
TOKENIZERS = Registry(
    'tokenizer', scope='coavt_mm', locations=['coavt_mm.datasets.tokenizer']
)
# Models
MODELS = _node('MODELS', 'models', 'peers.encoder')
MODEL_WRAPPERS = _node('MODEL_WRAPPERS', 'models', 'engine')
WEIGHT_INITIALIZERS = _node('WEIGHT_INITIALIZERS', 'engine')
TASK_UTILS = _node('TASK_UTILS', 'models')
# Evaluation, figures, inference
METRICS = _node('METRICS', 'evaluation', 'demo.metric')
EVALUATOR = _node('EVALUATOR', 'evaluation')
EVALUATORS = EVALUATOR  # its name in mmpretrain and mmaction
VISUALIZERS = _node('VISUALIZERS', 'visualization')
VISBACKENDS = _node('VISBACKENDS', 'engine')
INFERENCERS = _node('INFERENCERS', 'apis.inferencer')
FUNCTIONS = _node('FUNCTIONS', 'datasets.collate')
