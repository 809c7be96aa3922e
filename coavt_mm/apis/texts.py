"""Texts for a trained model. Letters: P texts, T tokens, E projected width, F frames,
N audio-visual tokens, D width."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from coavt_mm.apis.inputs import as_texts
from coavt_mm.datasets.transforms import TokenizeText
from coavt_mm.errors import ConfigError


class TextReader:
    """Embeds texts, and asks whether they belong to a clip.

    Args:
        model (nn.Module): A CoAVT.
        tokenize (TokenizeText, optional): Of the test pipeline.
    """

    def __init__(self, model: nn.Module, tokenize: TokenizeText | None):
        self.model, self.tokenize = model, tokenize

    def tokens(self, texts: Sequence[str]) -> list[Tensor]:
        """P tensors of ids (T,); what exceeds the pipeline's ``max_tokens`` is cut.

        Raises:
            InputError: One is no text, or empty, or there is none.
            ConfigError: The test pipeline has no TokenizeText.
        """
        texts = as_texts(texts)
        if self.tokenize is None:
            raise ConfigError(
                'the test pipeline has no TokenizeText to read texts with'
            )
        rows = self.tokenize(dict(texts=texts))['input_ids']
        return [torch.from_numpy(row) for row in rows]

    @torch.no_grad()
    def embed(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """Texts as the evaluation embeds captions.

        Args:
            texts (Sequence[str]): P texts.
            batch_size (int): Texts that go through the model at once.

        Returns:
            np.ndarray: (P, E) float32, L2-normalised.

        Raises:
            ConfigError: The model has no contrastive head.
        """
        head = getattr(self.model, 'contrastive_head', None)
        if head is None:
            raise ConfigError(
                f'this {type(self.model).__name__} has no contrastive_head to embed '
                'texts with'
            )
        feats = [
            head.project_text(self.model.encode_text(ids, mask)).cpu()
            for ids, mask in self._batches(self.tokens(texts), batch_size)
        ]
        return torch.cat(feats).numpy()

    @torch.no_grad()
    def match(
        self, tokens: np.ndarray, ids: Sequence[Tensor], batch_size: int = 64
    ) -> np.ndarray:
        """Do texts belong to a window? Mean over its frames, as in the evaluation.

        Args:
            tokens (np.ndarray): (F, N, D) of one stream.
            ids (Sequence[Tensor]): P texts, from :meth:`tokens`.
            batch_size (int): Texts that go through the model at once.

        Returns:
            np.ndarray: Logits (P, 2) float32; column 1 is 'they match'.
        """
        logits = []
        for padded, mask in self._batches(ids, batch_size):
            frames = torch.from_numpy(tokens).to(padded.device)
            each = [
                self.model.match(frame.expand(len(padded), -1, -1), padded, mask)
                for frame in frames
            ]
            logits.append(torch.stack(each).mean(0).float().cpu())
        return torch.cat(logits).numpy()

    def _batches(self, ids: Sequence[Tensor], batch_size: int):
        """Padded ids (P, T) and masks (P, T), on the model's device."""
        device = next(self.model.parameters()).device
        padding = self.model.data_preprocessor.pad_token_id
        for begin in range(0, len(ids), batch_size):
            part = list(ids[begin : begin + batch_size])
            padded = pad_sequence(part, True, padding).to(device)
            lengths = torch.tensor([len(row) for row in part], device=device)
            mask = torch.arange(padded.shape[1], device=device) < lengths[:, None]
            yield padded, mask.long()
