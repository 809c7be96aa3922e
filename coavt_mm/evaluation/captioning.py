"""Captioning as an mmengine metric."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump
from mmengine.logging import print_log

from coavt_mm.errors import ConfigError
from coavt_mm.evaluation.caption_scores import caption_scores, check_scoring
from coavt_mm.evaluation.clips import check_samples, describe_clips, middle_frame
from coavt_mm.registry import METRICS
from coavt_mm.visualization import (
    CaptionRow,
    caption_table_figure,
    save_figure,
)

KEPT = ('sample_idx', 'sample_id', 'clip_path', 'start', 'end', 'frame_times', 'error')
SHOWN = 6  # clips of the picture
NO_METEOR = "METEOR needs Java, and is computed with tokenizer='ptb' alone"


@METRICS.register_module()
class CaptionMetric(BaseMetric):
    """BLEU-1 to -4, ROUGE-L, CIDEr-D and METEOR of the model's captions.

    Needs data samples with ``texts`` (the references) and ``pred_caption`` (decoder ->
    text), as ``CoAVT`` gives them with ``test_cfg.caption``. Clips without a caption,
    since they lack sound or picture or could not be read, count as missing.

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

    Attributes:
        last_results: The nested results of the last evaluation (main process).
    """

    default_prefix = 'caption'

    def __init__(
        self,
        tokenizer: str = 'ptb',
        out_dir: str | None = None,
        plots: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        check_scoring(tokenizer)
        if plots and out_dir is None:
            raise ConfigError('plots=True needs an out_dir to save them in')
        self.tokenizer, self.out_dir, self.plots = tokenizer, out_dir, plots
        self.last_results: dict | None = None
        self._size: int | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the captions and references of a batch."""
        for sample in data_samples:
            record = {key: sample.get(key) for key in KEPT}
            record['references'] = list(sample['texts'])
            record['predictions'] = dict(sample.get('pred_caption') or {})
            self.results.append(record)

    def evaluate(self, size: int) -> dict:
        """Collect over ranks and score; ``size`` is the length of the data set."""
        self._size = size
        return super().evaluate(size)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Flat numbers for mmengine; the nested ones stay in ``last_results``."""
        check_samples(results, self._size)
        written = [record for record in results if record['predictions']]
        if not written:
            raise ConfigError(
                'no clip has a pred_caption: set test_cfg.caption of the model, or '
                'remove CaptionMetric'
            )
        report = self._describe(results, written)
        captions = [
            {key: record[key] for key in ('sample_id', 'references', 'predictions')}
            for record in written
        ]
        if self.out_dir:
            Path(self.out_dir).mkdir(parents=True, exist_ok=True)
            dump(captions, Path(self.out_dir) / 'written_captions.json', indent=2)
        report['decoders'] = {
            decoder: self._score(decoder, written, report['left_out'])
            for decoder in written[0]['predictions']
        }
        report['predictions'] = captions
        self.last_results = report
        print_log('\n' + caption_markdown(report), logger='current')
        if self.out_dir:
            self._save(report, written)
        return {
            f'{decoder}/{name}': value
            for decoder, scores in report['decoders'].items()
            for name, value in scores.items()
            if value is not None
        }

    def _score(
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

    def _describe(self, results: list[dict], written: list[dict]) -> dict:
        about = describe_clips(self.dataset_meta, results)
        mute = [r['sample_id'] for r in results if not r['predictions']]
        if mute:
            about['clips'] = len(written)
            broken = sum(r['error'] is not None for r in results)
            about['missing'] = (about['missing'] or 0) + len(mute) - broken
            names = ', '.join(map(str, mute[:20]))
            print_log(
                f'{len(mute)} clips without a caption count as missing: {names}',
                logger='current',
                level=logging.WARNING,
            )
        return {
            'metric': 'captioning',
            **about,
            'without_caption': mute,
            'references': sum(len(record['references']) for record in written),
            'tokenizer': self.tokenizer,
            'left_out': [] if self.tokenizer == 'ptb' else [NO_METEOR],
        }

    def _save(self, report: dict, written: list[dict]) -> None:
        out_dir = Path(self.out_dir)
        dump(report, out_dir / 'captioning.json', indent=2)
        (out_dir / 'captioning.md').write_text(caption_markdown(report), 'utf-8')
        if self.plots:
            step = max(1, len(written) // SHOWN)
            rows = [_row(record) for record in written[::step][:SHOWN]]
            title = f'{report["protocol"] or "captioning"}: {report["clips"]} clips'
            save_figure(caption_table_figure(rows, title), out_dir / 'captions.png')


def _row(record: dict) -> CaptionRow:
    return CaptionRow(
        image=middle_frame(record),
        name=record['sample_id'],
        written=record['predictions'],
        references=record['references'],
    )


def caption_markdown(report: dict) -> str:
    """A heading that says what was scored, and a row a decoder.

    Args:
        report: The nested results of :class:`CaptionMetric`.
    """
    missing = 'not stated' if report['missing'] is None else report['missing']
    heading = (
        f'protocol {report["protocol"] or "not named"}, manifest '
        f'{report["manifest"] or "not named"}, hash '
        f'{(report["manifest_hash"] or "none")[:12]}, clips {report["clips"]}, '
        f'references {report["references"]}, missing {missing}, '
        f'tokenizer {report["tokenizer"]}'
    )
    names = next(iter(report['decoders'].values())).keys()
    rows = [['decoder', *names]]
    for decoder, scores in report['decoders'].items():
        values = [scores[name] for name in names]
        cells = ['not computed' if v is None else f'{v:.4f}' for v in values]
        rows.append([decoder, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ['-' * width for width in widths])
    lines = [f'| {" | ".join(map(str.ljust, row, widths))} |' for row in rows]
    notes = ['', *report['left_out']] if report['left_out'] else []
    return '\n'.join([heading, '', *lines, *notes]) + '\n'
