"""How a training went: its stages, for :func:`.training_figure`."""

from mmengine.config import Config

from coavt_mm.datasets.curriculum import Curriculum
from coavt_mm.registry import DATASETS
from coavt_mm.streams import CAPTION_FIELDS
from coavt_mm.visualization.training import Stage


def planned_stages(
    cfg: Config, clips: int | None = None, processes: int = 1
) -> list[Stage]:
    """Find where the stages of a config's curriculum begin.

    Args:
        cfg: The config.
        clips: In the training set; None builds the data set and counts.
        processes: GPUs of the run.

    Returns:
        The stages with names made from their settings; none without a curriculum.
    """
    loader = cfg.train_dataloader
    stages = Curriculum(loader.get('sampler', {}).get('curriculum', ())).stages
    if stages and clips is None:
        clips = len(DATASETS.build(loader.dataset))
    found, begin = [], 0.0
    for stage in stages:
        found.append(Stage(begin, _name(stage)))
        begin += stage.get('epochs', 0) * (clips or 0) / (loader.batch_size * processes)
    if stages and 'epochs' in stages[-1]:
        found.append(Stage(begin, _name({})))
    return found


def _name(stage: dict) -> str:
    fields = [field for field, weight in stage.get('captions', {}).items() if weight]
    about = [CAPTION_FIELDS[field] for field in fields] or ['all']
    name = f'{", ".join(about)} captions'
    if stage.get('group_size', 1) > 1:
        name += f' in groups of {stage["group_size"]} similar clips'
    return name
