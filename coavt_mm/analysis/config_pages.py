"""A README for each folder of configs, from the metafile."""

from pathlib import Path

import yaml

_NOTE = 'Made by `tools/misc/make_config_readmes.py`; do not edit.'

_WEIGHTS = dict(
    coavt='No weights are published.',
    peers='Where to get the weights: [docs/peers.md](../../docs/peers.md).',
)

_ABLATIONS = (
    'What each row of [ablations](ablations.py) reached is in '
    '[docs/ablations.md](../../docs/ablations.md).'
)


def config_pages(root: Path) -> dict[Path, str]:
    """Write down what each config is for and what it reached.

    Args:
        root: The repository, with ``configs``.

    Returns:
        Path of a README -> its text.
    """
    folders = {root / 'configs' / name: note for name, note in _WEIGHTS.items()}
    return {
        folder / 'README.md': _models_page(folder, note)
        for folder, note in folders.items()
    }


def _models_page(folder: Path, weights: str) -> str:
    models = yaml.safe_load((folder / 'metafile.yml').read_text('utf-8'))['Models']
    lines = ['# Configs', '', _NOTE, '', 'A cell is measured or says that it is not.']
    lines += [weights, ''] if not _published(models) else ['']
    lines += ['| config | trained on | parameters | result |', '|---|---|---|---|']
    for model in models:
        name, about = model['Name'], model['Metadata']
        weights = f', [weights]({model["Weights"]})' if 'Weights' in model else ''
        count = about.get('Parameters')
        size = f'{count / 1e6:.1f} M' if count else '-'
        results = '<br>'.join(map(_result, model['Results'])) or 'none is meant'
        data = about['Training Data']
        lines.append(f'| [{name}]({name}.py){weights} | {data} | {size} | {results} |')
    lines += ['', _ABLATIONS] if (folder / 'ablations.py').is_file() else []
    return '\n'.join(lines) + '\n'


def _published(models: list[dict]) -> bool:
    return any('Weights' in model for model in models)


def _result(result: dict) -> str:
    metrics = result['Metrics']
    what = f'{result["Task"]}, {result["Dataset"]}'
    if all(value == 'not measured' for value in metrics.values()):
        return f'{what}: not measured'
    return f'{what}: ' + ', '.join(f'{name} {v}' for name, v in metrics.items())


def write_config_pages(root: Path) -> list[Path]:
    """Write them; returns those that changed."""
    changed = []
    for path, text in config_pages(root).items():
        if not path.is_file() or path.read_text('utf-8') != text:
            path.write_text(text, 'utf-8')
            changed.append(path)
    return changed
