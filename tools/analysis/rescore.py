"""Score the features of an evaluation again, in other modes, without extracting them.

    python tools/analysis/rescore.py work_dirs/NAME/features.pth \
        --modes cosine query_softmax --temperature 0.05 --out-dir work_dirs/NAME/again
    python tools/analysis/rescore.py work_dirs/NAME/features.pth \
        --modes matching matching_only --topk 64 --config CONFIG --checkpoint FILE

RetrievalMetric(features_file=...) saves the features. The matching modes read the
saved tokens with the query encoder, so they need a model; no clip is decoded.
"""

from argparse import ArgumentParser, Namespace

from mmengine.registry import init_default_scope
from torch import nn

from coavt_mm.checkpoints import load_weights
from coavt_mm.cli.launch import run_tool
from coavt_mm.config import load_config
from coavt_mm.errors import ConfigError
from coavt_mm.evaluation import RetrievalMetric
from coavt_mm.evaluation.ranking import MODES, RENAMED
from coavt_mm.registry import MODELS


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('features', help='file that features_file named')
    parser.add_argument(
        '--modes',
        nargs='+',
        choices=(*MODES, *RENAMED),
        metavar='MODE',
        default=['cosine'],
        help=f'of {", ".join(MODES)}',
    )
    parser.add_argument(
        '--equal-texts',
        action='store_true',
        help='a caption is right for every clip that carries it',
    )
    parser.add_argument('--topk', type=int, default=128, help='items to re-score')
    parser.add_argument(
        '--temperature', type=float, help='of the softmax modes; default: their own'
    )
    parser.add_argument('--out-dir', help='for retrieval.json, table and plots')
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--config', help='of the model, for the matching modes')
    parser.add_argument('--checkpoint', help='of the model, for the matching modes')
    return parser.parse_args()


def build_model(config: str | None, checkpoint: str | None, device: str) -> nn.Module:
    """The model of the matching modes, in evaluation."""
    if config is None or checkpoint is None:
        raise ConfigError('the matching modes need --config and --checkpoint')
    model = MODELS.build(load_config(config).model)
    for line in load_weights(checkpoint, model, strict=True):
        print(line)
    return model.to(device).eval()


def main() -> None:
    args = parse_args()
    init_default_scope('coavt_mm')
    metric = RetrievalMetric(
        modes=args.modes,
        topk=args.topk,
        temperature=args.temperature,
        equal_texts=args.equal_texts,
        out_dir=args.out_dir,
        plots=args.out_dir is not None,
    )
    if metric.needs_tokens:
        metric.model = build_model(args.config, args.checkpoint, args.device)
    metric.evaluate_file(args.features, args.device)


if __name__ == '__main__':
    run_tool(main)
