"""What is done when other libraries are imported, before or after ``coavt_mm``."""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from threading import get_ident
from types import ModuleType
from typing import Any

OPTIMIZERS = 'mmengine.optim.optimizer.builder'


class _Watch:
    """An import finder that finds nothing new, but sees what is imported."""

    names = ('mmaction.models', 'mmpretrain.models')

    def __init__(self) -> None:
        self.waits_for: dict[str, Callable[[], ModuleSpec | None]]
        self.waits_for = dict.fromkeys(self.names, self.before_models)
        self.waits_for['mmaction'] = self.before_mmaction
        if OPTIMIZERS not in sys.modules:
            self.waits_for[OPTIMIZERS] = self.before_optimizers
        if 'mmengine.registry' not in sys.modules:
            self.waits_for['mmengine'] = self.when_mmengine_is_there

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> ModuleSpec | None:
        """Act once on each name that is waited for."""
        act = self.waits_for.pop(name, None)
        spec = act and act()
        if not self.waits_for and self in sys.meta_path:
            sys.meta_path.remove(self)
        return spec

    def before_mmaction(self) -> ModuleSpec | None:
        """Apply the cure of mmaction2 beside the fork of mmcv."""
        from coavt_mm.compat import mmaction_beside_the_fork

        return mmaction_beside_the_fork()

    def before_models(self) -> None:
        """Apply the cures of mmaction2 and mmpretrain, whichever comes first."""
        for name in self.names:
            self.waits_for.pop(name, None)
        from coavt_mm.compat import prepare_openmmlab_models

        prepare_openmmlab_models()

    def before_optimizers(self) -> ModuleSpec | None:
        """Spare whoever builds a model transformers, which imports longer than torch.

        mmengine 0.10.7 imports it for an optimiser, Adafactor, and does without where
        it is not found. So it is not found, and Adafactor registered by a function.
        Unnecessary once mmengine imports it when it is asked for.
        """
        spec, thread = find_spec(OPTIMIZERS), get_ident()
        if spec is None or spec.loader is None or 'transformers' in sys.modules:
            return None
        load = spec.loader.exec_module

        def hide() -> None:
            if get_ident() == thread:
                raise ModuleNotFoundError('not needed here', name='transformers')

        def load_without(module: ModuleType) -> None:
            self.waits_for['transformers'] = hide
            try:
                load(module)
            finally:
                self.waits_for.pop('transformers', None)
            module.OPTIMIZERS.register_module('Adafactor', module=adafactor)

        vars(spec.loader)['exec_module'] = load_without
        return spec

    def when_mmengine_is_there(self) -> ModuleSpec | None:
        """Make our scope known at the end of mmengine's own import."""
        spec = find_spec('mmengine')
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_register(module: ModuleType) -> None:
            load(module)
            register_scope()

        vars(spec.loader)['exec_module'] = load_and_register
        return spec


def adafactor(*args: Any, **options: Any) -> Any:
    """The optimiser Adafactor of transformers, which is imported only now."""
    from transformers import Adafactor

    return Adafactor(*args, **options)


def watch_imports() -> None:
    """Act when mmengine, or models of mmaction2 or mmpretrain, are imported.

    In a config of these packages ``custom_imports=dict(imports=['coavt_mm'])`` is all
    that a user writes, and their own tools run it; there is no other moment between
    that line and the import that fails. Who never imports their models gets no cure,
    and who asks for help or a version doesn't wait for mmengine.
    """
    if not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())
    if 'mmengine.registry' in sys.modules:
        register_scope()


def register_scope() -> None:
    """Make the scope, and the names ``coavt_mm::CONFIG``, known to mmengine.

    mmengine 0.10.7 takes such names of packages in its own table only. It asks pip
    where they lie, and of an editable install pip knows just ``site-packages``; the
    name of a module, which is no distribution's, has it look where that module lies.
    Unnecessary once packages can add themselves and ``importlib`` finds them.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE.setdefault('coavt_mm', 'coavt_mm.registry')
    import_module('coavt_mm.registry')
