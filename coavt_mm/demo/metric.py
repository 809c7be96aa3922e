"""How many attributes a written caption names rightly."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from coavt_mm.demo.grammar import FACTORS, parse_caption
from coavt_mm.errors import ConfigError
from coavt_mm.evaluation.captioning import captions_of
from coavt_mm.evaluation.metric import ReportingMetric
from coavt_mm.registry import METRICS


def attribute_accuracy(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Compare the attributes that captions of Sounding Shapes name.

    An attribute counts where a reference names it; it is right where the prediction
    names the same class, wrong where it names none, another one, or two.

    Args:
        predictions: (B,) one written caption per clip.
        references: (B,) the true captions of each clip, any number.

    Returns:
        Share (0 ... 1) of attributes named rightly: ``all``, and one key an
        attribute that the references name (``shape``, ``colour`` ...).

    Raises:
        ConfigError: If no reference names an attribute.
    """
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
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
class AttributeAccuracy(ReportingMetric):
    """Share of the attributes that the model's captions name rightly.

    Needs data samples with ``sample_id``, ``texts`` (the references) and
    ``pred_caption`` (decoder -> text); gives ``caption/greedy/all``,
    ``caption/greedy/colour`` and so on for each decoder.

    Args:
        out_file: JSON file for the captions and the shares. Default: none.
        **kwargs: ``collect_device``, ``collect_dir`` and ``prefix`` of mmengine.
    """

    default_prefix = 'caption'
    name = 'attribute_accuracy'

    def __init__(self, out_file: str | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.out_file = out_file

    def record(self, sample: dict) -> dict:
        """Keep captions and references.

        Raises:
            ConfigError: If the model wrote no caption.
        """
        if not sample.get('pred_caption'):
            raise ConfigError(
                f'Clip {sample["sample_id"]!r} has no pred_caption: switch '
                'test_cfg.caption of the model on, or remove AttributeAccuracy.'
            )
        return captions_of(sample)

    def report(self, scored: list[dict]) -> dict:
        """``'<decoder>/<attribute>'`` -> share (0 ... 1), and all captions."""
        references = [clip['references'] for clip in scored]
        shares = {
            f'{decoder}/{name}': share
            for decoder in scored[0]['predictions']
            for name, share in attribute_accuracy(
                [clip['predictions'][decoder] for clip in scored], references
            ).items()
        }
        keys = ('sample_id', 'error', 'references', 'predictions')
        clips = [{key: clip[key] for key in keys} for clip in scored]
        return {'shares': shares, 'predictions': clips}

    def numbers(self, report: dict) -> dict:
        """The shares by decoder."""
        return report['shares']

    def write(self, report: dict, scored: list[dict], table: str) -> None:
        """Write ``out_file`` as well."""
        super().write(report, scored, table)
        if self.out_file:
            path = Path(self.out_file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
