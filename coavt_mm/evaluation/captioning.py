"""Captioning as an mmengine metric."""

import logging
from collections.abc import Sequence

from matplotlib.figure import Figure
from mmengine.logging import print_log

from coavt_mm.errors import ConfigError
from coavt_mm.evaluation.caption_scores import caption_scores, check_scoring
from coavt_mm.evaluation.metric import (
    ReportingMetric,
    draw_table,
    heading,
    middle_frame,
    warn_of,
)
from coavt_mm.registry import METRICS
from coavt_mm.visualization import CaptionRow, caption_table_figure

SHOWN = 6  # clips of the figure
NO_METEOR = "METEOR needs Java, and is computed with tokenizer='ptb' alone"


def captions_of(sample: dict) -> dict:
    """The references of a clip, and what each decoder wrote about it."""
    return {
        'references': list(sample['texts']),
        'predictions': dict(sample.get('pred_caption') or {}),
    }


@METRICS.register_module()
class CaptionMetric(ReportingMetric):
    """BLEU-1 to -4, ROUGE-L, CIDEr-D and METEOR of the model's captions.

    Needs data samples with ``texts`` (the references) and ``pred_caption`` (decoder ->
    text), as ``CoAVT`` gives them with ``test_cfg.caption``. Clips without a caption,
    since they lack audio or frames or could not be read, count as missing.

    Gives ``caption/beam/CIDEr-D`` and so on for each decoder; with tokenizer='words'
    ``caption/beam/CIDEr-D_words``, for these are other numbers than the published ones,
    and no METEOR. In ``out_dir``: written_captions.json (captions and references,
    before they are scored), captioning.json (the same with scores), captioning.md and
    captions.png.

    Args:
        tokenizer: 'ptb' (Stanford's, that of all published numbers; needs Java) or
            'words' (needs none).
        out_dir: Where the files go; None saves nothing.
        plots: Save the picture as well.
        **kwargs: ``collect_device``, ``collect_dir`` and ``prefix`` of mmengine.

    Raises:
        ConfigError: If pycocoevalcap, or Java for 'ptb', is not installed or does not
            run.
    """

    default_prefix = 'caption'
    name = 'captioning'

    def __init__(
        self,
        tokenizer: str = 'ptb',
        out_dir: str | None = None,
        plots: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(out_dir, plots, **kwargs)
        check_scoring(tokenizer)
        self.tokenizer = tokenizer

    def record(self, sample: dict) -> dict:
        """Keep captions and references."""
        return captions_of(sample)

    def score(self, records: list[dict]) -> list[dict]:
        """The clips that have a caption; they are saved before they are scored."""
        written = [record for record in records if record['predictions']]
        if not written:
            raise ConfigError(
                'no clip has a pred_caption: set test_cfg.caption of the model, or '
                'remove CaptionMetric'
            )
        self.write_json('written_captions.json', _shown(written))
        return written

    def describe(self, records: list[dict]) -> dict:
        """Say what was evaluated; clips without a caption count as missing."""
        about = super().describe(records)
        mute = [r['sample_id'] for r in records if not r['predictions']]
        if mute:
            about['clips'] = len(records) - len(mute)
            broken = sum(r['error'] is not None for r in records)
            about['missing'] = (about['missing'] or 0) + len(mute) - broken
            warn_of(mute, 'without a caption count as missing')
        return {**about, 'without_caption': mute}

    def report(self, scored: list[dict]) -> dict:
        """Decoder -> scores, and all captions."""
        left_out = [] if self.tokenizer == 'ptb' else [NO_METEOR]
        return {
            'references': sum(len(record['references']) for record in scored),
            'tokenizer': self.tokenizer,
            'left_out': left_out,
            'decoders': {
                decoder: self._scores(decoder, scored, left_out)
                for decoder in scored[0]['predictions']
            },
            'predictions': _shown(scored),
        }

    def numbers(self, report: dict) -> dict:
        """The scores by decoder."""
        return report['decoders']

    def table(self, report: dict) -> str:
        """One row per decoder, and what is left out."""
        names = list(next(iter(report['decoders'].values())))
        rows = []
        for decoder, scores in report['decoders'].items():
            values = [scores[name] for name in names]
            written = ['not computed' if v is None else f'{v:.4f}' for v in values]
            rows.append([decoder, *written])
        table = draw_table(['decoder', *names], rows)
        notes = ['', *report['left_out']] if report['left_out'] else []
        lines = ''.join(f'{line}\n' for line in notes)
        return f'{heading(report, "tokenizer")}\n\n{table}{lines}'

    def figures(self, report: dict, scored: list[dict]) -> dict[str, Figure]:
        """Some clips with what was written about them."""
        step = max(1, len(scored) // SHOWN)
        rows = [
            CaptionRow(
                image=middle_frame(record),
                name=record['sample_id'],
                written=record['predictions'],
                references=record['references'],
            )
            for record in scored[::step][:SHOWN]
        ]
        title = f'{report["protocol"] or "captioning"}: {report["clips"]} clips'
        if len(rows) < len(scored):
            title += f'; drawn: {len(rows)} of them, evenly spaced'
        return {'captions': caption_table_figure(rows, title)}

    def _scores(
        self, decoder: str, written: list[dict], left_out: list[str]
    ) -> dict[str, float | None]:
        """Scores by name; the name says so where the tokenizer is not the usual one."""
        problems: list[str] = []
        scores = caption_scores(
            [record['predictions'][decoder] for record in written],
            [record['references'] for record in written],
            self.tokenizer,
            problems,
        )
        for problem in problems:
            print_log(f'{decoder}: {problem}', 'current', logging.WARNING)
            left_out.append(f'{decoder}: {problem}')
        suffix = '' if self.tokenizer == 'ptb' else f'_{self.tokenizer}'
        return {
            name if value is None else name + suffix: value
            for name, value in scores.items()
        }


def _shown(written: Sequence[dict]) -> list[dict]:
    keys = ('sample_id', 'references', 'predictions')
    return [{key: record[key] for key in keys} for record in written]
