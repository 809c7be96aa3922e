"""What a Runner can't build is said with the setting that it was to be built of."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from traceback import extract_tb
from typing import Any

from mmengine.runner import Runner

from coavt_mm.engine.ranks import lost_processes
from coavt_mm.errors import ConfigError

#: What values that make no sense raise where nobody looks at them.
OF_VALUES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
#: Methods of a Runner that build a part -> the part's setting.
_BUILDERS = {
    'setup_env': 'env_cfg',
    'set_randomness': 'randomness',
    'build_log_processor': 'log_processor',
    'build_visualizer': 'visualizer',
    'build_model': 'model',
    'wrap_model': 'model_wrapper_cfg',
    'register_hook': 'hook',
    'build_train_loop': 'train_cfg',
    'build_optim_wrapper': 'optim_wrapper',
    'scale_lr': 'auto_scale_lr',
    'build_param_scheduler': 'param_scheduler',
    'build_val_loop': 'val_cfg',
    'build_test_loop': 'test_cfg',
    'build_evaluator': 'evaluator',
}


@contextmanager
def built_of(setting: str) -> Iterator[None]:
    """Say which setting a part can't be built of.

    Args:
        setting: Its name.

    Raises:
        ConfigError: The block raised one of ``OF_VALUES``.
        TrainingError: Another process is gone.
    """
    try:
        with lost_processes():
            yield
    except OF_VALUES as error:
        place = extract_tb(error.__traceback__)[-1]
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise ConfigError(
            f'{setting}: {reason} ({Path(place.filename).name}, line {place.lineno})'
        ) from error


def naming_settings(kind: type[Runner]) -> type[Runner]:
    """Derive a Runner whose errors name the setting of the part that is built.

    Args:
        kind: The Runner.
    """
    methods = {
        name: _named(getattr(kind, name), setting)
        for name, setting in _BUILDERS.items()
        if inspect.isfunction(getattr(kind, name, None))
    }
    methods['call_hook'] = _naming_hooks(kind.call_hook)
    return type(kind.__name__, (kind,), methods)


def _naming_hooks(call_hook: Callable) -> Callable:
    """Also name the hook that can't make its own parts as a run begins."""

    @wraps(call_hook)
    def call(self: Runner, fn_name: str, **kwargs: Any) -> None:
        if fn_name != 'before_run':
            return call_hook(self, fn_name, **kwargs)
        for hook in self.hooks:
            with built_of(f'hook {type(hook).__name__}'):
                hook.before_run(self)
        return None

    return call


def _named(method: Callable, setting: str) -> Callable:
    @wraps(method)
    def build(self: Runner, *args: Any, **kwargs: Any) -> Any:
        part = args[0] if args else None
        type_ = part.get('type') if isinstance(part, dict) else None
        with built_of(f'{setting} {type_}' if type_ else setting):
            return method(self, *args, **kwargs)

    return build
