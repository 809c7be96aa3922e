"""The config that travels with the weights, as data.

mmengine keeps a run's config in its checkpoints as Python source, which whoever reads
it has to execute. Here it is JSON: the model, the test pipeline, the names of the
classes and the tokenizers with all their word pieces. Whoever reads it builds known
classes with arguments of known kinds, see ``stored_checks``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmengine.config import Config
from torch import nn

from coavt_mm.checkpoints.stored_checks import (
    FRIENDS,
    LIMITS,
    MODEL_LIMITS,
    UnknownTypeError,
    check_form,
    check_limits,
    check_sources,
    check_types,
    check_work,
    dicts,
)
from coavt_mm.datasets.stored_tokenizer import checked_tokenizer
from coavt_mm.datasets.tokenizer import serialise_tokenizer, store_tokenizer
from coavt_mm.errors import CheckpointError, ConfigError
from coavt_mm.models.text_encoder import TextEncoder
from coavt_mm.registry import MODELS, TRANSFORMS

#: Where the JSON lies in a checkpoint's ``meta``, and in the metadata of safetensors.
KEY = 'coavt_config'
VERSION = 1
TUPLE = '__tuple__'


def inference_config(cfg: Config) -> dict:
    """What inference needs of a run's config.

    Args:
        cfg: Config of a run.

    Returns:
        ``model``, ``pipeline`` (the test data's, else the validation data's) and
        ``classes`` (list of names or None).

    Raises:
        ConfigError: The config has no model or no such data.
    """
    for loader in ('test_dataloader', 'val_dataloader'):
        dataset = (cfg.get(loader) or {}).get('dataset')
        while dataset and 'pipeline' not in dataset:  # a wrapper around a data set
            dataset = dataset.get('dataset')
        if dataset and cfg.get('model'):
            whole = Config(dict(model=cfg.model, pipeline=dataset.pipeline)).to_dict()
            _scopes_to_prefixes(whole)
            classes = dataset.get('classes')
            named = classes if isinstance(classes, list | tuple) else None
            return dict(whole, classes=named and list(named))
    raise ConfigError(
        'the config has no model, or no test_dataloader.dataset.pipeline to read clips '
        'with'
    )


def _scopes_to_prefixes(cfg: dict) -> None:
    """Write the marks that mmengine leaves in what comes of ``package::CONFIG``."""
    for node in dicts(cfg):
        scope, name = node.pop('_scope_', None), node.get('type')
        if scope not in (None, 'coavt_mm') and isinstance(name, str):
            node['type'] = name if '.' in name else f'{scope}.{name}'


def config_to_json(
    cfg: Config, model: nn.Module, classes: Sequence[str] | None = None
) -> str:
    """Write down a config so that another machine needs nothing else.

    Args:
        cfg: Config of the run.
        model: The model built from it; sizes of pre-trained text encoders are read from
            it, since their weights will come from the checkpoint.
        classes: Class names, else the config's.

    Raises:
        ConfigError: The config lacks something, or holds what is no data.
        CheckpointError: It could not be read again.
    """
    stored = inference_config(cfg)
    own = stored['model'].get('tokenizer')
    for node in dicts(stored['pipeline']):  # the one that the model trains with
        at_home = node.get('key', 'input_ids') == 'input_ids'
        if own and at_home and node.get('tokenizer'):
            node['tokenizer'] = own
    stored['model'] = _without_sources(stored['model'], model)
    stored['classes'] = list(classes) if classes else stored['classes']
    stored['version'] = VERSION
    imports = (cfg.get('custom_imports') or {}).get('imports') or []
    stored['imports'] = [imports] if isinstance(imports, str) else list(imports)
    names = {node['tokenizer'] for node in dicts(stored) if node.get('tokenizer')}
    stored['tokenizers'] = {name: serialise_tokenizer(name) for name in sorted(names)}
    try:
        text = json.dumps(_tuples_marked(stored))
    except TypeError as error:
        raise ConfigError(f'the config holds what is no data: {error}') from error
    read_stored_config(dict(meta={KEY: text}), 'the config')  # as it will be read
    return text


def carried_config(checkpoint: Any) -> str | None:
    """The JSON that a checkpoint carries, as it is; None without one."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    return meta.get(KEY) if isinstance(meta, Mapping) else None


def carried_tokenizer(checkpoint: Any, where: str) -> str | None:
    """The tokenizer of a checkpoint's model, as JSON; None where it carries none.

    Raises:
        CheckpointError: The config that it carries is damaged.
    """
    text = carried_config(checkpoint)
    if text is None:
        return None
    stored = _parsed(text, where)
    own = stored['tokenizers'].get(stored['model'].get('tokenizer'))
    return None if own is None else checked_tokenizer(own)


def read_stored_config(checkpoint: Mapping, where: str) -> dict:
    """The config that lies in a checkpoint.

    Args:
        checkpoint: What was read from the file.
        where: Its name, for messages.

    Returns:
        As :func:`inference_config` gives it, with tokenizers that this process knows.

    Raises:
        CheckpointError: There is none, it is damaged, or it names classes that no known
            registry has.
    """
    text = carried_config(checkpoint)
    if text is None:
        raise CheckpointError(
            f'{where}: no config is stored with these weights; give the config that '
            'they were trained with'
        )
    stored = _parsed(text, where)
    tokenizers = _read_tokenizers(stored.pop('tokenizers'), where)
    try:
        check_types(stored['model'], MODELS, {}, where)
        check_types(stored['pipeline'], TRANSFORMS, FRIENDS, where)
    except UnknownTypeError as error:
        raise CheckpointError(f'{error}{_named_imports(text)}') from error
    check_sources(stored, tokenizers, where)
    check_limits(stored['model'], MODEL_LIMITS, where)
    check_limits(stored['pipeline'], LIMITS, where)
    check_work(stored['pipeline'], where)
    for node in dicts(stored):
        if node.get('tokenizer'):
            node['tokenizer'] = tokenizers[node['tokenizer']]
    return stored


def _named_imports(text: str) -> str:
    """Which packages the run imported; nothing is imported because of it."""
    names = json.loads(text).get('imports')
    if not names or not _is_list_of(names, str):
        return ''
    return f'; it was trained with custom_imports={names!r:.200}'


def _parsed(text: Any, where: str) -> dict:
    """Model, pipeline, classes and tokenizers, each of its form."""
    try:
        stored = json.loads(text, object_hook=_tuple_again)
        version = stored['version']
        stored = {key: stored[key] for key in KINDS}
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f'{where}: the stored config is damaged '
            f'({type(error).__name__}: {str(error):.100}); give the config'
        ) from error
    if version != VERSION:
        raise CheckpointError(
            f'{where}: its stored config is of version {version!r:.60}, this release '
            f'reads version {VERSION}; give the config'
        )
    for key, fits in KINDS.items():
        if not fits(stored[key]):
            raise CheckpointError(
                f'{where}: {key} of its stored config is damaged '
                f'({stored[key]!r:.60}); give the config'
            )
    check_form({key: stored[key] for key in KINDS if key != 'tokenizers'}, where)
    return stored


def _is_node(value: Any) -> bool:
    return isinstance(value, dict) and 'type' in value


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


#: What a stored config consists of, beside its version.
KINDS = {
    'model': _is_node,
    'pipeline': lambda value: isinstance(value, list) and all(map(_is_node, value)),
    'classes': lambda value: value is None or _is_list_of(value, str),
    'tokenizers': lambda value: isinstance(value, dict),
}


def _read_tokenizers(tokenizers: dict, where: str) -> dict[str, str]:
    """Name in the config -> name in this process."""
    names = {}
    for name, text in tokenizers.items():
        try:
            names[name] = store_tokenizer(checked_tokenizer(text))
        except CheckpointError as error:
            raise CheckpointError(
                f'{where}: the tokenizer {name!r:.60} that lies in it: {error}'
            ) from error
    return names


def _tuples_marked(node: Any) -> Any:
    """JSON has no tuples, but some transforms take nothing else."""
    if isinstance(node, dict):
        return {key: _tuples_marked(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        items = [_tuples_marked(item) for item in node]
        return {TUPLE: items} if isinstance(node, tuple) else items
    return node


def _tuple_again(node: dict) -> Any:
    return tuple(node[TUPLE]) if node.keys() == {TUPLE} else node


def _without_sources(cfg: dict, module: nn.Module | None) -> dict:
    """A model's config without the files that its weights once started from."""
    cfg = {k: v for k, v in cfg.items() if k not in ('init_cfg', 'features_file')}
    if isinstance(module, TextEncoder) and cfg.pop('pretrained', None):
        cfg.pop('vocab_size', None)
        cfg['config'] = asdict(module.bert.config)
    return {
        key: _without_sources(value, getattr(module, key, None))
        if isinstance(value, dict)
        else value
        for key, value in cfg.items()
    }
