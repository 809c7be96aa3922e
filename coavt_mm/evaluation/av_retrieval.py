"""Audio-to-visual and visual-to-audio retrieval as an mmengine metric."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation.features import StreamFeatures
from coavt_mm.evaluation.metric import (
    ARROWS,
    ReportingMetric,
    cells,
    check_finite,
    draw_table,
    heading,
)
from coavt_mm.evaluation.ranking import (
    CURVE_DEPTH,
    count_ranks,
    recall_curve,
    recall_summary,
)
from coavt_mm.registry import METRICS
from coavt_mm.visualization import SPACE_STYLE, recall_figure

DIRECTIONS = ('audio_to_visual', 'visual_to_audio')
SPACES = ('encoder', 'query')


def clip_features(sample: dict, spaces: Sequence[str]) -> dict[str, list[Tensor]]:
    """Take from a prediction what is ranked, on the CPU.

    Args:
        sample: A prediction of ``CoAVT`` as a dict: ``token_feats`` {stream: (F, D)}
            and ``clip_feats`` {stream: (F, Q, E)}.
        spaces: Of :data:`SPACES`.

    Returns:
        Space -> audio (1, D or E) and visual (F, D or E); without the spaces in which
        a modality is missing.
    """
    features = {
        'encoder': sample.get('token_feats', {}),
        'query': {
            stream: normalize(feats.float().mean(1), dim=-1)
            for stream, feats in sample.get('clip_feats', {}).items()
        },
    }
    return {
        space: [features[space][s].detach().float().cpu().clone() for s in ('A', 'V')]
        for space in spaces
        if {'A', 'V'} <= set(features[space])
    }


def paired_features(records: list[dict], space: str) -> StreamFeatures | None:
    """Audio as queries, visual as gallery, both of one clip as query and target.

    Clips that lack a modality are left out; None where no clip has both.
    """
    rows = [row for row, record in enumerate(records) if space in record['feats']]
    if not rows:
        return None
    queries, gallery = zip(*(records[row]['feats'][space] for row in rows), strict=True)
    order = torch.arange(len(rows))
    return StreamFeatures(
        gallery=[visual[:, None] for visual in gallery],  # (F, 1, E)
        queries=torch.cat(queries),
        index=order,
        target=order,
        rows=rows,
        columns=[0] * len(rows),
    )


def chance_level(gallery: int) -> dict[str, float]:
    """What ranks drawn at random give: recalls in per cent, median and mean rank."""
    numbers = {f'R@{k}': 100 * min(k, gallery) / gallery for k in (1, 5, 10)}
    return {**numbers, 'MedR': (gallery + 1) / 2, 'MeanR': (gallery + 1) / 2}


@METRICS.register_module()
class AVRetrievalMetric(ReportingMetric):
    """R@k, median and mean rank of audio -> visual and visual -> audio.

    Similarity is a cosine, averaged over frames, in one or two spaces:

    - 'encoder': the mean of the tokens of E_A and of E_V (CAV-MAE's way, without
      masking);
    - 'query': the mean of the projected queries that have read E_A and E_V.

    A rank is 1 + #(better) + #(ties), as in :class:`RetrievalMetric`. Clips that lack
    a modality are neither queries nor in the gallery. Where the data set's ``ceilings``
    have ``audio_visual``, they stand beside the numbers.

    Args:
        spaces: Of 'encoder' and 'query'.
        out_dir: Where av_retrieval.json, av_retrieval.md and av_recall_curves.png go;
            None saves nothing.
        **kwargs: ``collect_device``, ``collect_dir`` and ``prefix`` of mmengine.
    """

    name = default_prefix = 'av_retrieval'

    def __init__(
        self,
        spaces: Sequence[str] = SPACES,
        out_dir: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(out_dir, plots=out_dir is not None, **kwargs)
        unknown = set(spaces) - set(SPACES)
        if unknown or not spaces:
            raise ConfigError(f'spaces {sorted(spaces)} are not among {SPACES}')
        self.spaces = tuple(spaces)

    def record(self, sample: dict) -> dict:
        """Keep the features of both modalities."""
        return {'feats': clip_features(sample, self.spaces)}

    def check(self, record: dict) -> None:
        """Refuse features that are not finite."""
        for space, pair in record['feats'].items():
            for feats in pair:
                check_finite(feats, f'the {space} feature', record['sample_id'])

    def score(self, records: list[dict]) -> dict[str, tuple[Tensor, Tensor]]:
        """Space -> ranks of audio to visual and of visual to audio, each (G,)."""
        ranks = {}
        for space in self.spaces:
            features = paired_features(records, space)
            if features is None:
                raise CoAVTError(
                    f'no clip has {space} features of both sound and picture'
                )
            ranks[space] = count_ranks(features)
        return ranks

    def report(self, scored: dict[str, tuple[Tensor, Tensor]]) -> dict:
        """Direction -> space -> R@1, ..., MeanR; chance and ceiling."""
        gallery = len(next(iter(scored.values()))[0])
        ceilings = (self.dataset_meta or {}).get('ceilings') or {}
        recalls = {
            direction: {s: recall_summary(ranks[i]) for s, ranks in scored.items()}
            for i, direction in enumerate(DIRECTIONS)
        }
        return {
            'gallery': gallery,
            'chance': chance_level(gallery),
            'ceilings': ceilings.get('audio_visual'),
            **recalls,
        }

    def numbers(self, report: dict) -> dict:
        """Recalls and ranks by direction and space."""
        return {direction: report[direction] for direction in DIRECTIONS}

    def table(self, report: dict) -> str:
        """Both directions, then chance and ceiling; R@k in per cent, ranks from 1."""
        names = list(report['chance'])
        rows = [
            [ARROWS[direction], space, *cells(summary, names)]
            for direction in DIRECTIONS
            for space, summary in report[direction].items()
        ]
        for label, key in (('chance', 'chance'), ('ceiling', 'ceilings')):
            if report[key]:
                rows.append(['both', label, *cells(report[key], names)])
        table = draw_table(['direction', 'features', *names], rows)
        return f'{heading(report, "gallery")}\n\n{table}'

    def figures(self, report: dict, scored: dict) -> dict[str, Figure]:
        """Recall curves of both directions."""
        gallery, best = report['gallery'], report['ceilings']
        curves = {
            direction: {
                space: recall_curve(ranks[i], min(CURVE_DEPTH, gallery))
                for space, ranks in scored.items()
            }
            for i, direction in enumerate(DIRECTIONS)
        }
        sizes = dict.fromkeys(DIRECTIONS, dict.fromkeys(scored, gallery))
        marks = dict.fromkeys(DIRECTIONS, dict.fromkeys(scored, best))
        title = f'{report["protocol"] or "sound and picture"}: {gallery} clips'
        figure = recall_figure(
            curves, sizes, marks if best else None, title, SPACE_STYLE
        )
        return {'av_recall_curves': figure}
