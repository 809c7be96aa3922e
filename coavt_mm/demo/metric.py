"""How many attributes a written caption names rightly."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric

from coavt_mm.demo.grammar import FACTORS, parse_caption
from coavt_mm.errors import ConfigError
from coavt_mm.evaluation.clips import describe_clips
from coavt_mm.registry import METRICS


def attribute_accuracy(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Compare the attributes that captions of Sounding Shapes name.

    An attribute counts where a reference names it; it is right where the prediction
    names the same class, wrong where it names none, another one, or two.

    Args:
        predictions: (B,) one written caption a clip.
        references: (B,) the true captions of each clip, any number.

    Returns:
        Share (0 ... 1) of attributes named rightly: ``all``, and one key an
        attribute that the references name (``shape``, ``colour`` ...).

    Raises:
        ConfigError: If no reference names an attribute.
    """
    asked, right = Counter(), Counter()
    for prediction, texts in zip(predictions, references, strict=True):
        named = parse_caption(prediction)
        truth: dict[str, str] = {}
        for text in texts:
            truth.update(parse_caption(text))
        asked.update(truth.keys())
        right.update(name for name in truth if truth[name] == named.get(name))
    if not asked:
        raise ConfigError(
            'No reference caption names an attribute of Sounding Shapes: use '
            'AttributeAccuracy with that data set only.'
        )
    shares = {name: right[name] / asked[name] for name in FACTORS if asked[name]}
    return {'all': right.total() / asked.total(), **shares}


@METRICS.register_module()
class AttributeAccuracy(BaseMetric):
    """Share of the attributes that the model's captions name rightly.

    Needs data samples with ``sample_id``, ``texts`` (the references) and
    ``pred_caption`` (decoder -> text); gives ``caption/greedy/all``,
    ``caption/greedy/colour`` and so on for each decoder.

    Args:
        out_file: JSON file for the captions and the shares. Default: none.
        collect_device: ``'cpu'`` or ``'gpu'``, see :class:`mmengine.BaseMetric`.
        prefix: Replaces ``'caption'`` in front of the keys.
    """

    default_prefix = 'caption'

    def __init__(
        self,
        out_file: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.out_file = out_file

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the captions of a batch.

        Args:
            data_batch: Not used.
            data_samples: (B,) data samples as dictionaries.

        Raises:
            ConfigError: If the model wrote no caption.
        """
        for sample in data_samples:
            if not sample.get('pred_caption'):
                raise ConfigError(
                    f'Clip {sample["sample_id"]!r} has no pred_caption: switch '
                    'test_cfg.caption of the model on, or remove AttributeAccuracy.'
                )
            self.results.append(
                {
                    'sample_id': sample['sample_id'],
                    'error': sample.get('error'),
                    'references': list(sample['texts']),
                    'predictions': dict(sample['pred_caption']),
                }
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the shares by decoder.

        Args:
            results: What :meth:`process` kept, of all ranks.

        Returns:
            ``'<decoder>/<attribute>'`` -> share (0 ... 1).
        """
        # a sampler may pad the last batch with clips that were there before
        clips = list({result['sample_id']: result for result in results}.values())
        references = [clip['references'] for clip in clips]
        metrics = {}
        for decoder in clips[0]['predictions']:
            predictions = [clip['predictions'][decoder] for clip in clips]
            shares = attribute_accuracy(predictions, references)
            metrics.update({f'{decoder}/{k}': v for k, v in shares.items()})
        if self.out_file:
            path = Path(self.out_file)
            path.parent.mkdir(parents=True, exist_ok=True)
            about = describe_clips(self.dataset_meta, clips)
            report = {'metric': 'attribute_accuracy', **about, 'shares': metrics}
            report['predictions'] = clips
            path.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
        return metrics
