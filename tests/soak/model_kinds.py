"""Configs, checkpoints, features and tokenizers, and the doors they go through."""

import json
from pathlib import Path
from random import Random

import torch
from media_kinds import Lost, Original, told
from mutators import CSV, JSON, PYTHON, SAFETENSORS, ZIP
from tiny_parts import HOME, checkpoint, vocabulary, write

# ------------------------------------------------------------------------ configs
CONFIG = {
    'model': {'type': 'CoAVT', 'tokenizer': 'bert-base-uncased'},
    'train_cfg': {'max_iters': 10, 'type': 'SeenSamplesTrainLoop'},
    'optim_wrapper': {'optimizer': {'type': 'AdamW', 'lr': 1e-4}},
    'batch': 4,
}


def make_configs(place: Path) -> list[Original]:
    import yaml

    del place
    stored = torch.load(checkpoint(), weights_only=True)['meta']['coavt_config']
    files = [
        Original('stored.json', stored.encode(), JSON),
        Original('config.json', json.dumps(CONFIG, indent=1).encode(), JSON),
        Original('config.yaml', yaml.safe_dump(CONFIG).encode(), (*JSON, *CSV)),
        Original(
            'config.py',
            ''.join(f'{key} = {value!r}\n' for key, value in CONFIG.items()).encode(),
            PYTHON,
        ),
    ]
    return [*files[:1] * 4, *files[1:]]


def feed_config(original: Original, content: bytes, scratch: Path, rng: Random) -> None:
    from coavt_mm.apis import CoAVTInferencer
    from coavt_mm.config import load_config

    if original.name != 'stored.json':
        load_config(str(write(scratch, original.name, content)))
        return
    saved = torch.load(checkpoint(), weights_only=True)
    saved['meta']['coavt_config'] = content.decode('utf-8', 'surrogateescape')
    try:
        torch.save(saved, scratch / 'x.pth')
    except UnicodeEncodeError:
        return
    built = CoAVTInferencer(None, scratch / 'x.pth', 'cpu', show_progress=False)
    built.embed(str(HOME[0] / 'manifest' / '0.wav'), text='the dog')


# -------------------------------------------------------------------- checkpoints
def make_checkpoints(place: Path) -> list[Original]:
    import ancestors
    from safetensors.torch import save_file

    content = checkpoint().read_bytes()
    coavt = Original('coavt.pth', content, ZIP)
    from coavt_mm.checkpoints import export_safetensors

    export_safetensors(checkpoint(), place / 'coavt.safetensors')
    golden = ancestors.GOLDEN
    others = [
        Original(name, (golden / name).read_bytes(), ZIP)
        for name in ('cavmae_tiny.pth', 'blip2_qformer_tiny.pth')
    ]
    save_file({'a': torch.zeros(2, 2)}, place / 'x.safetensors')
    tensors = [
        Original('coavt.safetensors', (place / 'coavt.safetensors').read_bytes(),
                 SAFETENSORS)
    ]  # fmt: skip
    return [coavt, coavt, *tensors, *others]


def feed_checkpoint(
    original: Original, content: bytes, scratch: Path, rng: Random
) -> str:
    path = write(scratch, original.name, content)
    summed = rng.random() < 0.3
    if summed:
        _sum_beside(path, original.content)
    with told() as lines:
        own = _read_weights(original, path, rng)
    if summed and content != original.content:
        raise Lost('another file than its checksum says')
    return 'told' if any('CRC-32' in line for line in lines) else own


def _read_weights(original: Original, path: Path, rng: Random) -> str:
    from coavt_mm.apis import CoAVTInferencer
    from coavt_mm.checkpoints import (
        convert_bert,
        convert_blip2,
        convert_cavmae,
        convert_vit,
    )

    if original.name.startswith('coavt'):
        built = CoAVTInferencer(None, path, 'cpu', show_progress=False)
        built.embed(str(HOME[0] / 'manifest' / '0.wav'), text='the dog')
        own = 'model'
    else:
        by_name = {'cavmae': convert_cavmae, 'blip2': convert_blip2}
        convert = by_name[original.name.split('_')[0]]
        if rng.random() < 0.3:
            convert = rng.choice((convert_bert, convert_vit, convert_cavmae))
        convert(path, num_heads=4)
        own = 'convert'
    return own


def _sum_beside(path: Path, content: bytes) -> None:
    import hashlib

    digest = hashlib.sha256(content).hexdigest()
    path.with_name(f'{path.name}.sha256').write_text(f'{digest}  {path.name}\n')


# ----------------------------------------------------------------------- features
def make_features(place: Path) -> list[Original]:
    from retrieval_parts import as_element, make_samples

    from coavt_mm.evaluation import RetrievalMetric

    path = place / 'features.pth'
    metric = RetrievalMetric(features_file=str(path), out_dir=str(place / 'out'))
    metric.dataset_meta = dict(protocol='toy', hash='12ab', missing=1)
    metric.process({}, [as_element(x).to_dict() for x in make_samples([2, 1, 0, 3])])
    metric.evaluate(4)
    result = (place / 'out' / 'retrieval.json').read_bytes()
    features = Original('features.pth', path.read_bytes(), ZIP)
    return [features, features, Original('retrieval.json', result, JSON)]


def feed_features(
    original: Original, content: bytes, scratch: Path, rng: Random
) -> None:
    from coavt_mm.analysis.results import (
        find_results,
        markdown_tables,
        read_rows,
        write_csv,
    )
    from coavt_mm.evaluation import RetrievalMetric

    path = write(scratch, original.name, content)
    if original.name == 'retrieval.json':
        found, _ = find_results([scratch])
        rows = [row for path in found for row in read_rows(path)]
        markdown_tables(rows).encode()
        write_csv(rows, scratch / 'x.csv')
        return
    modes = rng.choice((['cosine'], ['cosine', 'query_softmax', 'softmax_product']))
    metric = RetrievalMetric(modes=modes, equal_texts=rng.random() < 0.3)
    numbers = metric.evaluate_file(path)
    odd = [key for key, value in numbers.items() if not 0 <= value < 1e9]
    if odd:
        raise Lost(f'{odd} are no numbers')


# ---------------------------------------------------------------------- tokenizers
def make_tokenizers(place: Path) -> list[Original]:
    from coavt_mm.datasets.tokenizer import serialise_tokenizer

    del place
    words = vocabulary()
    return [
        Original('vocab.txt', words.read_bytes(), CSV),
        Original('stored.json', serialise_tokenizer(str(words)).encode(), JSON),
    ]


def feed_tokenizer(
    original: Original, content: bytes, scratch: Path, rng: Random
) -> None:
    from coavt_mm.datasets.stored_tokenizer import checked_tokenizer
    from coavt_mm.datasets.tokenizer import (
        build_rules,
        encode_text,
        lost_words,
        store_tokenizer,
    )

    if original.name == 'stored.json':
        text = content.decode('utf-8', 'surrogateescape')
        name = store_tokenizer(checked_tokenizer(text))
    else:
        name = str(write(scratch, original.name, content))
    rules = build_rules.__wrapped__(name)
    for text in ('the dog barks', 'x' * 5000, 'é ' * 200, '[DEC] [MASK]', '\0', ''):
        size = rules.get_vocab_size()
        if not all(0 <= i < size for i in encode_text(rules, text, 12)):
            raise Lost('an id without a row')
        lost_words(rules, text, 12)
