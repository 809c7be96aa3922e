"""Pictures and spectrograms as tokens, and which of them a training step keeps."""

import torch
from torch import Tensor, nn

from coavt_mm.errors import ConfigError
from coavt_mm.models.layers import sincos_table

#: Which tokens of a spectrogram are dropped together.
MASK_MODES = ('random', 'time', 'frequency', 'time_frequency')


class PatchEmbed(nn.Module):
    """Patches -> tokens, plus fixed positions and a learned modality vector.

    Args:
        in_channels: 1 for a spectrogram, 3 for a picture.
        size: Height and width of the input.
        patch_size: Side of a square patch.
        embed_dims: Width D.
    """

    def __init__(
        self, in_channels: int, size: tuple[int, int], patch_size: int, embed_dims: int
    ):
        super().__init__()
        if size[0] % patch_size or size[1] % patch_size:
            raise ConfigError(
                f'the input size {tuple(size)} must be a multiple of the patch size '
                f'{patch_size} in both directions'
            )
        self.size = tuple(size)
        self.grid = (size[0] // patch_size, size[1] // patch_size)
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, patch_size)
        self.modality = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.position: Tensor
        # a buffer in the state dict: ancestors' tables load, no gradient reaches it
        self.register_buffer('position', sincos_table(embed_dims, *self.grid)[None])
        nn.init.xavier_uniform_(self.proj.weight.view(embed_dims, -1))
        if self.proj.bias is not None:
            nn.init.zeros_(self.proj.bias)
        nn.init.normal_(self.modality, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, height, width) -> (B, N, D)."""
        if x.shape[-2:] != self.size:
            raise ConfigError(
                f'expected an input of {self.size[0]} x {self.size[1]} (height x '
                f'width), got {x.shape[-2]} x {x.shape[-1]}; set spec_size / img_size '
                'of the encoder, or the sizes in the data pipeline and preprocessor'
            )
        return self.proj(x).flatten(2).transpose(1, 2) + self.position + self.modality


def kept_tokens(
    batch: int, grid: tuple[int, int], ratio: float, mode: str, device: torch.device
) -> Tensor:
    """Draw the tokens that each sample keeps, as many of each.

    Args:
        batch: Samples B.
        grid: Rows (of frequency) and columns (of time), whose tokens are row-major.
        ratio: Share of the tokens that is dropped.
        mode: Of :data:`MASK_MODES`. Of rows and columns both, the same share is kept.
        device: Where to draw.

    Returns:
        Indices (B, kept) int64: the nearest number to the share that is left, of whole
        rows and columns where the mode says so, and one at the least.
    """

    def draw(number: int, share: float) -> Tensor:
        kept = max(1, round(number * share))
        return torch.rand(batch, number, device=device).argsort(1)[:, :kept]

    (rows, columns), share = grid, 1 - ratio
    if mode == 'random':
        return draw(rows * columns, share)
    of_each = share**0.5 if mode == 'time_frequency' else share
    row = draw(rows, 1.0 if mode == 'time' else of_each)
    if mode == 'time_frequency':  # what rounding the few rows leaves to the columns
        of_each = share * rows / row.shape[1]
    column = draw(columns, 1.0 if mode == 'frequency' else min(of_each, 1.0))
    return (row[:, :, None] * columns + column[:, None]).flatten(1)
