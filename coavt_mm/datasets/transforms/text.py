"""From a row's captions and labels to token ids."""

from collections.abc import Sequence
from warnings import warn

import numpy as np
from mmcv.transforms import BaseTransform

from coavt_mm.batches import is_ids
from coavt_mm.datasets.curriculum import (
    Curriculum,
    check_caption_fields,
    check_caption_weights,
)
from coavt_mm.datasets.tokenizer import build_rules, check_max_tokens, encode_text
from coavt_mm.errors import ConfigError, ManifestError
from coavt_mm.registry import TRANSFORMS
from coavt_mm.streams import CAPTION_FIELDS
from coavt_mm.texts import check_templates, fill_templates


def _checked_templates(templates: Sequence[str]) -> list[str]:
    if templates:
        check_templates(templates)
    return list(templates)


def _nothing_to_say(results: dict, fields: Sequence[str]) -> ManifestError:
    return ManifestError(
        f'clip {results["sample_id"]}: no text in {", ".join(fields)}, and no labels '
        'to put into templates; give it captions, name other fields, or set templates'
    )


def _translated(stages: Sequence[dict]) -> Curriculum:
    """The curriculum that ``PickCaption(stages=...)`` means."""
    for stage in stages:
        if set(stage) != {'epochs', 'fields'} or stage['epochs'] < 1:
            raise ConfigError(
                f'PickCaption: stage {stage} is not dict(epochs=..., fields=...) '
                'of at least one epoch'
            )
    new = [dict(epochs=s['epochs'], captions=s['fields']) for s in stages]
    warn(
        'PickCaption(stages=...) is an old form for one release; '
        f'set train_dataloader.sampler.curriculum={new}',
        FutureWarning,
        stacklevel=3,
    )
    return Curriculum(new)


@TRANSFORMS.register_module()
class PickCaption(BaseTransform):
    """Draw one caption of the clip (training).

    Among the fields that the row fills, one is drawn by weight, then one of its
    captions. A row without captions gets a template filled with one of its labels.

    Required Keys:

    - sample_id
    - captions (optional)
    - audio_captions (optional)
    - visual_captions (optional)
    - labels
    - stage (optional)
    - epoch (with ``stages``)

    Added Keys:

    - texts
    - text_streams

    Args:
        fields: Weight of each field of captions, where the stage of the curriculum
            (:class:`.Curriculum`) has no ``captions``.
        templates: Sentences with a place ``{}`` for the label, such as 'the sound and
            sight of {}'. Empty: captions only.
        stages: Old form of a curriculum's captions: dicts of ``epochs`` and ``fields``.
    """

    def __init__(
        self,
        fields: dict[str, float] | None = None,
        templates: Sequence[str] = (),
        stages: Sequence[dict] = (),
    ):
        self.fields = dict(fields or {'captions': 1.0})
        self.templates = _checked_templates(templates)
        check_caption_weights(self.fields)
        self.stages = [dict(stage) for stage in stages]
        self._old = _translated(self.stages) if stages else None

    def _draw(self, results: dict) -> tuple[str, str]:
        fields = self._stage(results).get('captions', self.fields)
        filled = [f for f, w in fields.items() if w > 0 and results.get(f)]
        if filled:
            weights = np.array([fields[field] for field in filled])
            field = filled[np.random.choice(len(filled), p=weights / weights.sum())]
            texts, stream = results[field], CAPTION_FIELDS[field]
        else:
            texts, stream = fill_templates(self.templates, results['labels']), 'AV'
        if not texts:
            raise _nothing_to_say(results, list(fields))
        return texts[np.random.randint(len(texts))], stream

    def _stage(self, results: dict) -> dict:
        if self._old is None:
            return results.get('stage') or {}
        if 'epoch' not in results:
            raise ConfigError(
                'PickCaption: stages need a sampler that tells the epoch, such as '
                'ResumableSampler'
            )
        return self._old.stage(results['epoch'])

    def transform(self, results: dict) -> dict:
        """Put one caption into ``texts``."""
        text, stream = self._draw(results)
        results['texts'], results['text_streams'] = [text], [stream]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(fields={self.fields}, templates={self.templates}, '
            f'stages={self.stages})'
        )


@TRANSFORMS.register_module()
class AllCaptions(BaseTransform):
    """Take all captions of the clip (test).

    Required Keys:

    - sample_id
    - captions (optional)
    - audio_captions (optional)
    - visual_captions (optional)
    - labels

    Added Keys:

    - texts
    - text_streams

    Args:
        fields: Fields of captions to take, in this order.
        templates: Sentences for the labels of rows without captions.
    """

    def __init__(
        self, fields: Sequence[str] = ('captions',), templates: Sequence[str] = ()
    ):
        check_caption_fields(fields)
        self.fields = list(fields)
        self.templates = _checked_templates(templates)

    def transform(self, results: dict) -> dict:
        """Put every caption into ``texts``."""
        found = [
            (text, CAPTION_FIELDS[field])
            for field in self.fields
            for text in results.get(field, ())
        ]
        if not found:
            found = [
                (text, 'AV')
                for text in fill_templates(self.templates, results['labels'])
            ]
        if not found:
            raise _nothing_to_say(results, self.fields)
        results['texts'] = [text for text, _ in found]
        results['text_streams'] = [stream for _, stream in found]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(fields={self.fields}, templates={self.templates})'
        )


@TRANSFORMS.register_module()
class TokenizeText(BaseTransform):
    """Turn texts into ids ``[CLS] ... [SEP]``, unpadded.

    Required Keys:

    - texts

    Added Keys:

    - input_ids

    Args:
        tokenizer: Local directory, vocabulary file or hub id of a BERT
            tokenizer.
        max_tokens: Longest text in tokens, [CLS] and [SEP] included; longer
            texts lose their end.
        key: Where the ids go. A text encoder with a tokenizer of its own reads them
            from another key that ends with ``_ids``, made by a second TokenizeText.

    Raises:
        ConfigError: If ``max_tokens`` has no room for [CLS] and [SEP], or ``key`` ends
            otherwise.
    """

    def __init__(self, tokenizer: str, max_tokens: int = 77, key: str = 'input_ids'):
        if not is_ids(key):
            raise ConfigError(f"TokenizeText: key={key!r} must end with '_ids'")
        self.key = key
        self.rules = build_rules(tokenizer)
        check_max_tokens(self.rules, max_tokens)
        self.name = tokenizer
        self.max_tokens = max_tokens

    def transform(self, results: dict) -> dict:
        """Tokenise every text by itself."""
        results[self.key] = [
            np.array(encode_text(self.rules, text, self.max_tokens), dtype=np.int64)
            for text in results['texts']
        ]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(tokenizer={self.name!r}, '
            f'max_tokens={self.max_tokens}, key={self.key!r})'
        )
