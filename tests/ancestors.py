"""State dicts in the ancestors' names with random weights, in any size."""

from pathlib import Path

import torch

from coavt_mm.models.layers import sincos_table

GOLDEN = Path(__file__).parent / 'data' / 'golden'


def golden(name: str) -> tuple[Path, dict]:
    """Path of a golden checkpoint, and what went in and came out of it."""
    path = GOLDEN / f'{name}.pth'
    return path, torch.load(GOLDEN / f'{name}_io.pth', weights_only=True)


def _linear(out: dict, name: str, rows: int, cols: int) -> None:
    out[f'{name}.weight'], out[f'{name}.bias'] = (
        torch.randn(rows, cols),
        torch.randn(rows),
    )


def _norm(out: dict, name: str, dims: int) -> None:
    out[f'{name}.weight'], out[f'{name}.bias'] = torch.randn(dims), torch.randn(dims)


def cavmae(
    dims=24, depths=(2, 1, 1), hidden=36, grid=(8, 3), side=2, patch=16, classes=None
) -> dict:
    """CAV-MAE; `grid` are mel rows and time columns, `side` picture patches."""
    out = {}
    for branch, channels, table in (
        ('a', 1, sincos_table(dims, *grid)),
        ('v', 3, sincos_table(dims, side, side)),
    ):
        out[f'modality_{branch}'] = torch.randn(1, 1, dims)
        out[f'pos_embed_{branch}'] = table[None]
        out[f'patch_embed_{branch}.proj.weight'] = torch.randn(
            dims, channels, patch, patch
        )
        out[f'patch_embed_{branch}.proj.bias'] = torch.randn(dims)
    for stage, depth in zip('avu', depths, strict=True):
        for i in range(depth):
            block = f'blocks_{stage}.{i}'
            for norm in ('norm1', 'norm1_a', 'norm1_v', 'norm2', 'norm2_a', 'norm2_v'):
                _norm(out, f'{block}.{norm}', dims)
            _linear(out, f'{block}.attn.qkv', 3 * dims, dims)
            _linear(out, f'{block}.attn.proj', dims, dims)
            _linear(out, f'{block}.mlp.fc1', hidden, dims)
            _linear(out, f'{block}.mlp.fc2', dims, hidden)
    for norm in ('norm', 'norm_a', 'norm_v'):
        _norm(out, norm, dims)
    if classes is None:
        out['mask_token'] = torch.randn(1, 1, dims)
        _linear(out, 'decoder_embed', dims, dims)
    else:
        _norm(out, 'mlp_head.0', dims)
        _linear(out, 'mlp_head.1', classes, dims)
    return out


def blip2(
    dims=20, depth=5, every=3, hidden=28, context=12, queries=3, vocab=37, texts=17,
    proj=10,
) -> dict:  # fmt: skip
    """BLIP-2 stage 1, `every` n-th layer with cross-attention."""
    bert = 'Qformer.bert'
    out = {
        'query_tokens': torch.randn(1, queries, dims),
        'temp': torch.tensor(0.06),
        f'{bert}.embeddings.position_ids': torch.arange(texts)[None],
        f'{bert}.embeddings.word_embeddings.weight': torch.randn(vocab, dims),
        f'{bert}.embeddings.position_embeddings.weight': torch.randn(texts, dims),
    }
    _norm(out, f'{bert}.embeddings.LayerNorm', dims)
    for i in range(depth):
        layer = f'{bert}.encoder.layer.{i}'
        kinds = {'attention': dims, 'crossattention': context}
        for kind, kv in kinds.items() if i % every == 0 else [('attention', dims)]:
            _linear(out, f'{layer}.{kind}.self.query', dims, dims)
            _linear(out, f'{layer}.{kind}.self.key', dims, kv)
            _linear(out, f'{layer}.{kind}.self.value', dims, kv)
            _linear(out, f'{layer}.{kind}.output.dense', dims, dims)
            _norm(out, f'{layer}.{kind}.output.LayerNorm', dims)
        for suffix in ('', '_query'):
            _linear(out, f'{layer}.intermediate{suffix}.dense', hidden, dims)
            _linear(out, f'{layer}.output{suffix}.dense', dims, hidden)
            _norm(out, f'{layer}.output{suffix}.LayerNorm', dims)
    head = 'Qformer.cls.predictions'
    out[f'{head}.bias'] = torch.randn(vocab)
    out[f'{head}.decoder.bias'] = out[f'{head}.bias']
    out[f'{head}.decoder.weight'] = out[f'{bert}.embeddings.word_embeddings.weight']
    _linear(out, f'{head}.transform.dense', dims, dims)
    _norm(out, f'{head}.transform.LayerNorm', dims)
    _linear(out, 'vision_proj', proj, dims)
    _linear(out, 'text_proj', proj, dims)
    _linear(out, 'itm_head', 2, dims)
    _norm(out, 'ln_vision', context)
    return {'model': out, 'epoch': 9, 'config': {'run': {}}}


def resnet() -> dict:
    """The first tensors of a ResNet."""
    return {'conv1.weight': torch.randn(4, 3, 7, 7), 'bn1.weight': torch.randn(4)}
