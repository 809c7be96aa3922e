"""Joint audio-visual encoder: CAV-MAE's three stages without a decoder."""

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from coavt_mm.errors import ConfigError
from coavt_mm.models.layers import EncoderBlock, stream_norms
from coavt_mm.models.patches import MASK_MODES, PatchEmbed, kept_tokens
from coavt_mm.registry import MODELS
from coavt_mm.streams import STREAMS


def _check_options(
    embed_dims: int,
    num_heads: int,
    spec_size: Sequence[int],
    mask_ratio: Sequence[float],
    mask_mode: str,
    drop_path_rate: float,
) -> None:
    if len(spec_size) != 2:
        raise ConfigError(
            f'JointAVEncoder: spec_size is (frames, mel bins), got {spec_size}'
        )
    if len(mask_ratio) != 2 or not all(0 <= share < 1 for share in mask_ratio):
        raise ConfigError(
            'JointAVEncoder: mask_ratio must be two shares in [0, 1), of the audio '
            f'and the visual tokens, got {mask_ratio}'
        )
    if mask_mode not in MASK_MODES:
        raise ConfigError(
            f'JointAVEncoder: mask_mode is one of {", ".join(MASK_MODES)}, got '
            f'{mask_mode!r}'
        )
    if not 0 <= drop_path_rate < 1:
        raise ConfigError(
            f'JointAVEncoder: drop_path_rate must lie in [0, 1), got {drop_path_rate}'
        )
    if num_heads < 1 or embed_dims % num_heads:
        raise ConfigError(
            f'JointAVEncoder: embed_dims {embed_dims} is not a multiple of '
            f'num_heads {num_heads}'
        )


def _check_streams(streams: Sequence[str]) -> None:
    # of a text each letter would be one
    if isinstance(streams, str) or not all(name in STREAMS for name in streams):
        raise ConfigError(
            f'streams={streams!r} is no list of {", ".join(STREAMS)}, such as '
            f'[{STREAMS[0]!r}]'
        )


def _stage(
    block: tuple[int, int, float],
    streams: Sequence[str],
    depth: int,
    first: int,
    rise: float,
) -> nn.ModuleList:
    """Layers, of which each drops its branches more often than the one before."""
    rates = [rise * (first + i) for i in range(depth)]
    return nn.ModuleList(EncoderBlock(*block, streams, rate) for rate in rates)


def _warn_moved(what: str, name: str) -> None:
    warnings.warn(
        f"JointAVEncoder: {what} is for type='coavt_mm.{name}' now, and will be an "
        'error with the next release',
        FutureWarning,
        stacklevel=3,
    )


@MODELS.register_module()
class JointAVEncoder(BaseModule):
    """Audio, visual and joint transformer stages (CoAVT; CAV-MAE's encoder).

    The joint stage runs on the audio tokens, on the visual tokens and on both,
    with LayerNorms of its own for each of the three streams.

    Letters: B batch, L spectrogram frames, M mel bins, H and W picture height and
    width, N_a / N_v / N_av tokens, D width.

    Args:
        embed_dims: Width D. Defaults to 768.
        num_heads: Attention heads. Defaults to 12.
        depths: Audio, visual and joint layers. Defaults to (11, 11, 1).
        mlp_ratio: Width of the MLP over D. Defaults to 4.
        spec_size: Spectrogram frames (10 ms each) and mel bins. Defaults to (1024,
            128).
        img_size: Side of the square picture, in pixels. Defaults to 224.
        patch_size: Side of a patch, in pixels, frames and mel bins. Defaults to 16.
        mask_ratio: Shares of the audio and of the visual tokens that are dropped at
            random in training, to save time and memory. Defaults to (0, 0).
        mask_mode: Which audio tokens go together: 'random' patches (MAE), whole
            columns of 'time', whole rows of 'frequency', or both, 'time_frequency'
            (CAV-MAE, AudioMAE). Of pictures it is always patches. Defaults to 'random'.
        drop_path_rate: Probability that the last layer is left out for a clip in
            training; it rises evenly from 0 at the first (stochastic depth). Defaults
            to 0.
        with_cp: Recompute activations in the backward pass instead of keeping them.
            Defaults to False.
        one_pass: Takes :class:`OnePassAVEncoder`, as this option did in the release
            before.
        as_tuple: Takes :class:`JointAVBackbone`, likewise.
        init_cfg: mmengine's initialisation config.
    """

    one_pass = False

    def __init__(
        self,
        embed_dims: int = 768,
        num_heads: int = 12,
        depths: Sequence[int] = (11, 11, 1),
        mlp_ratio: float = 4.0,
        spec_size: Sequence[int] = (1024, 128),
        img_size: int = 224,
        patch_size: int = 16,
        mask_ratio: Sequence[float] = (0.0, 0.0),
        mask_mode: str = 'random',
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        one_pass: bool = False,
        as_tuple: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        _check_options(
            embed_dims, num_heads, spec_size, mask_ratio, mask_mode, drop_path_rate
        )
        if type(self) is JointAVEncoder and (one_pass or as_tuple):
            # what were its options are classes now; for one more release
            self.__class__ = OnePassAVEncoder if one_pass else JointAVBackbone
            _warn_moved('one_pass' if one_pass else 'as_tuple', type(self).__name__)
        self.embed_dims = embed_dims
        length, num_mels = spec_size
        self.spec_size, self.img_size = (length, num_mels), img_size
        self.mask_ratio, self.mask_mode = mask_ratio, mask_mode
        self.with_cp, self.as_tuple = with_cp, as_tuple
        # the spectrogram is patched as a (mel, frames) picture, mel rows first
        self.audio_embed = PatchEmbed(1, (num_mels, length), patch_size, embed_dims)
        self.visual_embed = PatchEmbed(3, (img_size, img_size), patch_size, embed_dims)
        block = embed_dims, num_heads, mlp_ratio
        rise = drop_path_rate / max(max(depths[:2]) + depths[2] - 1, 1)
        self.audio_blocks = _stage(block, ['A'], depths[0], 0, rise)
        self.visual_blocks = _stage(block, ['V'], depths[1], 0, rise)
        self.joint_blocks = _stage(block, STREAMS, depths[2], max(depths[:2]), rise)
        self.norm = stream_norms(embed_dims, STREAMS)
        self._init_linear()

    def _init_linear(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def encode_audio(
        self, spectrogram: Float[Tensor, 'B L M']
    ) -> Float[Tensor, 'B N_a D']:
        """Sound alone: (B, L, M) normalised log-mel -> E_A (B, N_a, D)."""
        return self._join(self._audio_trunk(spectrogram), 'A')

    def encode_visual(
        self, frames: Float[Tensor, 'B 3 H W']
    ) -> Float[Tensor, 'B N_v D']:
        """Picture alone: (B, 3, H, W) normalised RGB -> E_V (B, N_v, D)."""
        return self._join(self._visual_trunk(frames), 'V')

    def encode_av(
        self, spectrogram: Float[Tensor, 'B L M'], frames: Float[Tensor, 'B 3 H W']
    ) -> Float[Tensor, 'B N_av D']:
        """Both: (B, L, M) and (B, 3, H, W) -> E_AV (B, N_a + N_v, D)."""
        audio, visual = self._audio_trunk(spectrogram), self._visual_trunk(frames)
        return self._join(torch.cat([audio, visual], 1), 'AV')

    def forward(
        self,
        spectrogram: Tensor | None = None,
        frames: Tensor | None = None,
        streams: Sequence[str] = STREAMS,
    ) -> dict[str, Tensor]:
        """Encode all streams that the given modalities allow, each trunk once.

        Args:
            spectrogram: (B, L, M) normalised log-mel.
            frames: (B * F, 3, H, W) normalised RGB; F frames of a clip follow each
                other and share its sound.
            streams: Streams wanted, of 'AV', 'A', 'V'.

        Returns:
            Stream -> tokens (B * F, N, D), (B, N, D) for 'A'.

        Raises:
            ConfigError: ``streams`` names another, or is a text.
        """
        _check_streams(streams)
        if spectrogram is not None and spectrogram.dim() == 4:
            # how other libraries call a backbone; for one more release
            _warn_moved('a batch (B, channels, ...)', 'JointAVBackbone')
            # what those libraries want, which is no dict
            return JointAVBackbone.forward(self, spectrogram, frames)  # type: ignore[return-value]
        trunks = {}
        if spectrogram is not None and {'A', 'AV'} & set(streams):
            trunks['A'] = self._audio_trunk(spectrogram)
        if frames is not None and {'V', 'AV'} & set(streams):
            trunks['V'] = self._visual_trunk(frames)
        if 'AV' in streams and len(trunks) == 2:
            trunks['AV'] = self._pair(trunks['A'], trunks['V'])
        return {s: self._join(trunks[s], s) for s in streams if s in trunks}

    def training_inputs(
        self, inputs: dict[str, Tensor]
    ) -> tuple[Float[Tensor, 'B L M'], Float[Tensor, 'B 3 H W']]:
        """Take spectrograms and frames out of a batch, zeros where nobody has any.

        All ranks must run the same gathers, also the rank whose batch happens to have
        no sound; its rows don't count, by has_audio and has_visual.

        Args:
            inputs: The preprocessor's output.

        Returns:
            (B, L, M) and (B, 3, H, W).

        Raises:
            ConfigError: If the clips have several frames.
        """
        batch, like = len(inputs['has_audio']), self.audio_embed.modality
        spectrogram, frames = inputs.get('spectrogram'), inputs.get('frames')
        if spectrogram is None:
            spectrogram = like.new_zeros(batch, *self.spec_size)
        if frames is None:
            frames = like.new_zeros(batch, 1, 3, self.img_size, self.img_size)
        if frames.shape[1] != 1:
            raise ConfigError(
                f'training takes one frame per clip, got {frames.shape[1]}; set '
                "pick='random' in LoadFrames"
            )
        return spectrogram, frames[:, 0]

    def encode_training(
        self, inputs: dict[str, Tensor], streams: Sequence[str]
    ) -> dict[str, Tensor]:
        """Encode a batch of :meth:`training_inputs`, one frame per clip.

        Args:
            inputs: With ``spectrogram`` (B, L, M) and ``frames`` (B, 1, 3, H, W).
            streams: Streams wanted.
        """
        return self(inputs['spectrogram'], inputs['frames'][:, 0], streams)

    def encode_unimodal(
        self,
        stream: str,
        spectrogram: Tensor | None = None,
        frames: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One modality, once under its own norms and once under the joint norms.

        Args:
            stream: 'A' or 'V'.
            spectrogram: (B, L, M), for 'A'.
            frames: (B, 3, H, W), for 'V'.

        Returns:
            Two times (B, N, D).
        """
        given: Any = spectrogram if stream == 'A' else frames
        encode = self._audio_trunk if stream == 'A' else self._visual_trunk
        trunk = encode(given)
        return self._join(trunk, stream), self._join(trunk, 'AV')

    @staticmethod
    def _pair(audio: Tensor, visual: Tensor) -> Tensor:
        """(B, N_a, D) and (B * F, N_v, D) -> (B * F, N_a + N_v, D)."""
        audio = audio.repeat_interleave(len(visual) // len(audio), 0)
        return torch.cat([audio, visual], 1)

    def _audio_trunk(self, spectrogram: Tensor) -> Tensor:
        # (B, L, M) -> (B, 1, M, L)
        tokens = self.audio_embed(spectrogram.transpose(1, 2).unsqueeze(1))
        tokens = self._mask(tokens, self.audio_embed.grid, 0, self.mask_mode)
        return self._run(self.audio_blocks, tokens, 'A')

    def _visual_trunk(self, frames: Tensor) -> Tensor:
        tokens = self.visual_embed(frames)
        tokens = self._mask(tokens, self.visual_embed.grid, 1, 'random')
        return self._run(self.visual_blocks, tokens, 'V')

    def _join(self, tokens: Tensor, stream: str) -> Tensor:
        return self.norm[stream](self._run(self.joint_blocks, tokens, stream))

    def _run(self, blocks: nn.ModuleList, x: Tensor, stream: str) -> Tensor:
        for block in blocks:
            if self.with_cp and x.requires_grad:
                x = checkpoint(block, x, stream, use_reentrant=False)
            else:
                x = block(x, stream)
        return x

    def _mask(
        self, tokens: Tensor, grid: tuple[int, int], which: int, mode: str
    ) -> Tensor:
        ratio = self.mask_ratio[which]
        if not self.training or ratio == 0:
            return tokens
        kept = kept_tokens(tokens.shape[0], grid, ratio, mode, tokens.device)
        return tokens.gather(1, kept.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))


@MODELS.register_module()
class OnePassAVEncoder(JointAVEncoder):
    """An ablation: in training E_A and E_V are cut out of the one joint pass.

    At test each modality is passed alone, so that no stream sees the other one; all
    under the joint norms. Arguments are those of :class:`JointAVEncoder`.
    """

    one_pass = True

    def forward(
        self,
        spectrogram: Tensor | None = None,
        frames: Tensor | None = None,
        streams: Sequence[str] = STREAMS,
    ) -> dict[str, Tensor]:
        """Encode the streams; see :meth:`JointAVEncoder.forward`."""
        if not self.training or spectrogram is None or frames is None:
            return super().forward(spectrogram, frames, streams)
        audio = self._audio_trunk(spectrogram)
        joint = self._join(self._pair(audio, self._visual_trunk(frames)), 'AV')
        num = audio.shape[1]
        every = {'AV': joint, 'A': joint[:, :num], 'V': joint[:, num:]}
        return {s: every[s] for s in streams}

    def _join(self, tokens: Tensor, stream: str) -> Tensor:
        return super()._join(tokens, 'AV')


@MODELS.register_module()
class JointAVBackbone(JointAVEncoder):
    """The encoder as the recognisers and classifiers of other libraries call one.

    A batch with a channel axis goes in, the map of one stream comes out. Arguments are
    those of :class:`JointAVEncoder`; ``as_tuple=True`` gives a tuple of one stage,
    which mmpretrain's and mmaction2's necks and mmpretrain's heads want.
    """

    def forward(  # type: ignore[override]  # called by other libraries, in their way
        self,
        x: Tensor | None = None,
        frames: Tensor | None = None,
        spectrogram: Tensor | None = None,
    ) -> Tensor | tuple[Tensor]:
        """Encode one stream.

        Args:
            x: (B, 1, L, M) normalised log-mel, or (B, 3, H, W) normalised RGB.
            frames: (B * F, 3, H, W) normalised RGB, with a log-mel.
            spectrogram: The log-mel, under the name that mmaction2's recogniser of
                several modalities gives it.

        Returns:
            E_A as (B, D, mel rows, time columns), E_V as (B, D, rows, columns), E_AV as
            (B * F, D, N_av, 1); (B, D, N, 1) for any of them where tokens are masked.
            In a tuple with ``as_tuple``.

        Raises:
            ConfigError: If the number of channels is neither 1 nor 3.
        """
        encode = functools.partial(JointAVEncoder.forward, self)
        x = spectrogram if x is None else x
        if x is not None and x.shape[1] == 1:
            stream = 'A' if frames is None else 'AV'
            tokens = encode(x.squeeze(1), frames, [stream])[stream]
        elif x is not None and x.shape[1] == 3 and frames is None:
            stream, tokens = 'V', encode(None, x, ['V'])['V']
        else:
            raise ConfigError(
                'expected a log-mel (B, 1, frames, mel bins), alone or with pictures, '
                'or pictures (B, 3, height, width), got '
                f'{None if x is None else tuple(x.shape)}'
            )
        grids = dict(A=self.audio_embed.grid, V=self.visual_embed.grid)
        rows, cols = grids.get(stream, (tokens.shape[1], 1))
        if tokens.shape[1] != rows * cols:  # masked: what is left lies on no grid
            rows, cols = tokens.shape[1], 1
        out = tokens.transpose(1, 2).unflatten(2, (rows, cols))
        return (out,) if self.as_tuple else out
