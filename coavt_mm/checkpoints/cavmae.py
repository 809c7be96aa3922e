"""CAV-MAE, pre-trained or fine-tuned -> JointAVEncoder or CoAVTClassifier."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from coavt_mm.checkpoints.conversion import (
    Converted,
    Report,
    Rule,
    Source,
    checked_heads,
    count_layers,
    finish,
    read_state_dict,
    rename,
    require,
    skeleton,
)
from coavt_mm.checkpoints.positions import find_grid, resize_positions
from coavt_mm.errors import CheckpointError

_WB = r'(weight|bias)'
_UNUSED = (
    "CAV-MAE's single-modality blocks only ever run their plain norms; these exist "
    'because all blocks are of one class'
)
_DECODER = 'the decoder and its mask token serve masked reconstruction only'


def _blocks(old: str, new: str) -> list[Rule]:
    """Attention and MLP of one stage."""
    return [
        Rule(
            rf'blocks_{old}\.(\d+)\.attn\.(qkv|proj)\.{_WB}', [rf'{new}.\1.attn.\2.\3']
        ),
        Rule(rf'blocks_{old}\.(\d+)\.mlp\.fc1\.{_WB}', [rf'{new}.\1.mlp.0.\2']),
        Rule(rf'blocks_{old}\.(\d+)\.mlp\.fc2\.{_WB}', [rf'{new}.\1.mlp.2.\2']),
    ]


def _embed(old: str, new: str) -> list[Rule]:
    return [
        Rule(rf'patch_embed_{old}\.proj\.{_WB}', [rf'{new}.proj.\1']),
        Rule(rf'modality_{old}', [f'{new}.modality']),
        Rule(rf'pos_embed_{old}', [f'{new}.position']),
    ]


def _joint_norms(old: str, stream: str) -> list[Rule]:
    return [
        Rule(rf'blocks_u\.(\d+)\.(norm[12]){old}\.{_WB}',
             [rf'joint_blocks.\1.\2.{stream}.\3']),
        Rule(rf'norm{old}\.{_WB}', [rf'norm.{stream}.\1']),
    ]  # fmt: skip


TABLE = [
    *_embed('a', 'audio_embed'),
    *_embed('v', 'visual_embed'),
    *_blocks('a', 'audio_blocks'),
    *_blocks('v', 'visual_blocks'),
    *_blocks('u', 'joint_blocks'),
    Rule(rf'blocks_a\.(\d+)\.(norm[12])\.{_WB}', [r'audio_blocks.\1.\2.A.\3']),
    Rule(rf'blocks_v\.(\d+)\.(norm[12])\.{_WB}', [r'visual_blocks.\1.\2.V.\3']),
    Rule(r'blocks_[av]\.\d+\.norm[12]_[av]\.\w+', reason=_UNUSED),
    *_joint_norms('', 'AV'),
    *_joint_norms('_a', 'A'),
    *_joint_norms('_v', 'V'),
    Rule(r'(decoder_.*|mask_token)', reason=_DECODER),
]

HEAD = [
    Rule(rf'mlp_head\.0\.{_WB}', [r'head.norm.\1']),
    Rule(rf'mlp_head\.1\.{_WB}', [r'head.fc.\1']),
]


def convert_cavmae(
    source: Source,
    num_heads: int = 12,
    spec_size: Sequence[int] | None = None,
    img_size: int | None = None,
) -> Converted:
    """Convert CAV-MAE, all sizes but the number of heads inferred.

    Args:
        source: File or state dict, keys with or without ``module.``.
        num_heads: Attention heads; no tensor tells. Defaults to 12.
        spec_size: Frames (10 ms each) and mel bins wanted; the position table is
            interpolated. Defaults to the checkpoint's.
        img_size: Side of the picture wanted, in pixels; likewise.

    Returns:
        A ``JointAVEncoder``, or a ``CoAVTClassifier`` if the checkpoint has a
        classifier head.

    Raises:
        CheckpointError: If it is no CAV-MAE checkpoint, or an incomplete one.
    """
    state, report = read_state_dict(source), Report('CAV-MAE')
    encoder = _encoder_cfg(state, num_heads, report)
    table = TABLE
    model_cfg = encoder
    if any(name.startswith('mlp_head.') for name in state):
        require(state, ['mlp_head.0.weight', 'mlp_head.1.weight'], 'fine-tuned CAV-MAE')
        table = HEAD + _below('backbone.', TABLE)
        classes, dims = state['mlp_head.1.weight'].shape
        head = dict(type='ClassificationHead', embed_dims=dims, num_classes=classes)
        model_cfg = dict(type='CoAVTClassifier', backbone=encoder, head=head)
    renamed = rename(state, table, report)
    encoder['spec_size'] = tuple(spec_size or encoder['spec_size'])
    encoder['img_size'] = img_size or encoder['img_size']
    renamed, changed = resize_positions(renamed, skeleton(model_cfg))
    report.changed.update(changed)
    return finish(renamed, model_cfg, report)


def _below(prefix: str, table: Sequence[Rule]) -> list[Rule]:
    return [
        Rule(r.pattern, [prefix + n for n in r.names], r.reason, r.transform)
        for r in table
    ]


def _encoder_cfg(state: Mapping[str, Tensor], num_heads: int, report: Report) -> dict:
    """Sizes from shapes; the spectrogram's grid from the sin-cos table."""
    require(
        state,
        [
            'patch_embed_a.proj.weight',
            'patch_embed_v.proj.weight',
            'pos_embed_a',
            'pos_embed_v',
            'blocks_u.0.mlp.fc1.weight',
        ],
        'CAV-MAE',
    )
    dims, _, patch, _ = state['patch_embed_a.proj.weight'].shape
    rows, cols = _audio_grid(state['pos_embed_a'], patch, report)
    return dict(
        type='JointAVEncoder',
        embed_dims=dims,
        num_heads=checked_heads(num_heads, dims),
        depths=tuple(count_layers(state, rf'blocks_{s}\.(\d+)\.') for s in 'avu'),
        mlp_ratio=state['blocks_u.0.mlp.fc1.weight'].shape[0] / dims,
        spec_size=(cols * patch, rows * patch),
        img_size=picture_side(state['pos_embed_v'].shape[1], patch),
        patch_size=patch,
    )


def _audio_grid(table: Tensor, patch: int, report: Report) -> tuple[int, int]:
    """Mel rows and time columns; 128 mel bins where the table doesn't tell."""
    grid = find_grid(table)
    if grid is not None:
        return grid
    rows, num = 128 // patch, table.shape[1]
    if num % rows:
        raise CheckpointError(
            f'the {num} audio positions are no sin-cos table and no multiple of '
            f'{rows} rows (128 mel bins), so the spectrogram size is unknown'
        )
    report.notes.append(
        f'the audio position table is not a fixed sin-cos table; {rows} rows (128 mel '
        'bins) are assumed'
    )
    return rows, num // rows


def picture_side(num: int, patch: int) -> int:
    """Side in pixels of a square picture of ``num`` patches.

    Raises:
        CheckpointError: If the picture isn't square.
    """
    side = round(num**0.5)
    if side * side != num:
        raise CheckpointError(
            f'{num} picture positions are no square; only square pictures are known'
        )
    return side * patch
