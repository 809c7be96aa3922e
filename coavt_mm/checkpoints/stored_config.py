"""The config that travels with the weights, as data.

mmengine keeps a run's config in its checkpoints as Python source, which whoever reads
it has to execute. Here it is JSON: the model, the test pipeline, the names of the
classes and the tokenizers with all their word pieces. Reading it builds classes of
known registries and nothing else.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from torch import nn

from coavt_mm.datasets.tokenizer import serialise_tokenizer, store_tokenizer
from coavt_mm.errors import CheckpointError, ConfigError
from coavt_mm.models.text_encoder import TextEncoder
from coavt_mm.registry import MODELS, TRANSFORMS

#: Where the JSON lies in a checkpoint's ``meta``, and in the metadata of safetensors.
KEY = 'coavt_config'
VERSION = 1
TUPLE = '__tuple__'

#: Packages whose transforms our pipelines may use.
FRIENDS = ('mmaction', 'mmpretrain')

# keys of transformers' BertConfig that say where a model came from, not what it is
_BERT_HISTORY = {'_name_or_path', 'architectures', 'dtype', 'torch_dtype', 'model_type',
                 'transformers_version'}  # fmt: skip


def inference_config(cfg: Config) -> dict:
    """What inference needs of a run's config.

    Args:
        cfg (Config): Config of a run.

    Returns:
        dict: ``model``, ``pipeline`` (the test data's, else the validation data's) and
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
            classes = dataset.get('classes')
            named = classes if isinstance(classes, list | tuple) else None
            return dict(whole, classes=named and list(named))
    raise ConfigError(
        'the config has no model, or no test_dataloader.dataset.pipeline to read clips '
        'with'
    )


def config_to_json(
    cfg: Config, model: nn.Module, classes: Sequence[str] | None = None
) -> str:
    """Write down a config so that another machine needs nothing else.

    Args:
        cfg (Config): Config of the run.
        model (nn.Module): The model built from it; sizes of pre-trained text encoders
            are read from it, since their weights will come from the checkpoint.
        classes (Sequence[str], optional): Class names, else the config's.

    Raises:
        ConfigError: The config lacks something, or holds what is no data.
    """
    stored = inference_config(cfg)
    own = stored['model'].get('tokenizer')
    for node in _dicts(stored['pipeline']):  # one model has one: the one it trains with
        if own and node.get('tokenizer'):
            node['tokenizer'] = own
    stored['model'] = _without_sources(stored['model'], model)
    stored['classes'] = list(classes) if classes else stored['classes']
    stored['version'] = VERSION
    names = {node['tokenizer'] for node in _dicts(stored) if node.get('tokenizer')}
    stored['tokenizers'] = {name: serialise_tokenizer(name) for name in sorted(names)}
    try:
        return json.dumps(_tuples_marked(stored))
    except TypeError as error:
        raise ConfigError(f'the config holds what is no data: {error}') from error


def carried_config(checkpoint: Any) -> str | None:
    """The JSON that a checkpoint carries, as it is; None without one."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    return meta.get(KEY) if isinstance(meta, Mapping) else None


def read_stored_config(checkpoint: Mapping, where: str) -> dict:
    """The config that lies in a checkpoint.

    Args:
        checkpoint (Mapping): What was read from the file.
        where (str): Its name, for messages.

    Returns:
        dict: As :func:`inference_config` gives it, with tokenizers that this process
        knows.

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
    try:
        stored = json.loads(text, object_hook=_tuple_again)
        version, tokenizers = stored['version'], stored['tokenizers']
        stored = {key: stored[key] for key in ('model', 'pipeline', 'classes')}
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f'{where}: the stored config is damaged ({error!r}); give the config'
        ) from error
    if version != VERSION:
        raise CheckpointError(
            f'{where}: its stored config is of version {version}, this release reads '
            f'version {VERSION}; give the config'
        )
    check_types(stored['model'], MODELS, (), where)
    check_types(stored['pipeline'], TRANSFORMS, FRIENDS, where)
    for node in _dicts(stored):
        if node.get('tokenizer') in tokenizers:
            node['tokenizer'] = store_tokenizer(tokenizers[node['tokenizer']])
    return stored


def check_types(node: Any, own: Registry, friends: Sequence[str], where: str) -> None:
    """Refuse classes that are not registered.

    mmengine would import whatever module a dotted ``type`` names, and call it.

    Args:
        node (Any): A part of a config.
        own (Registry): The registry of this package that builds it.
        friends (Sequence[str]): Packages whose transforms may be mixed in.
        where (str): Name of the checkpoint, for the message.

    Raises:
        CheckpointError: If one is unknown.
    """
    for found in _dicts(node):
        if 'type' in found and not _is_registered(str(found['type']), own, friends):
            raise CheckpointError(
                f'{where}: its stored config asks for {found["type"]!r}, which is not '
                'registered here; import the package that has it, or give the config'
            )


def _is_registered(full_name: str, own: Registry, friends: Sequence[str]) -> bool:
    scope, _, name = full_name.rpartition('.')
    own.import_from_location()
    if scope in friends:
        import_module(f'{scope}.datasets.transforms')  # fills the registry
        return name in import_module(f'{scope}.registry').TRANSFORMS.module_dict
    if scope in ('', own.scope):
        # mmcv registers its transforms in the root of the tree
        root = own.parent.module_dict if friends and not scope else {}
        return name in own.module_dict or name in root
    return False


def _dicts(node: Any) -> Iterator[dict]:
    """All dictionaries in a config, outer ones first."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _dicts(item)


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


def _without_sources(cfg: dict, module: nn.Module) -> dict:
    """A model's config without the files that its weights once started from."""
    cfg = {key: value for key, value in cfg.items() if key != 'init_cfg'}
    if isinstance(module, TextEncoder) and cfg.pop('pretrained', None):
        size = module.bert.config.to_diff_dict()
        cfg.pop('vocab_size', None)
        cfg['config'] = {k: v for k, v in size.items() if k not in _BERT_HISTORY}
    return {
        key: _without_sources(value, getattr(module, key, None))
        if isinstance(value, dict)
        else value
        for key, value in cfg.items()
    }
