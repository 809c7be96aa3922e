"""What the demo clips are rendered with; nothing heavy is imported here."""

from dataclasses import dataclass, field
from typing import Any

from coavt_mm.errors import ConfigError

SAMPLE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz

#: configs that start from it -> whether they train
RECIPES = {
    'zeroshot_demo': False,
    'finetune_demo': True,
    'caption_demo': True,
    'cls_demo': True,
    'cls_demo_single': True,
    'av_retrieval_demo': True,
}


def _option(default: Any, about: str) -> Any:
    return field(default=default, metadata=dict(help=about))


@dataclass(frozen=True)
class Settings:
    """What is rendered; equal settings give equal clips.

    Args:
        train_clips: Training clips; more than about 20,000 repeat combinations.
        test_clips: Test clips, with combinations that training never shows.
        val_clips: Validation clips, with combinations that neither set shows.
        seed: Seed of everything.
        size: Width and height in pixels, even.
        fps: Frames per second.
        seconds: Length of a clip in s.
        sample_rate: Sample rate in Hz, one that AAC knows.
        bound: Whether the picture determines the sound and the sound the picture
            (but for its place), for audio-visual retrieval.
    """

    train_clips: int = _option(3000, 'training clips')
    test_clips: int = _option(
        200, 'test clips; their combinations never occur in training'
    )
    val_clips: int = _option(
        100, 'validation clips, with combinations of their own; may be 0'
    )
    seed: int = _option(0, 'seed of everything')
    size: int = _option(96, 'width and height in pixels, even')
    fps: int = _option(10, 'frames per second')
    seconds: float = _option(2.56, 'length of a clip in s')
    sample_rate: int = _option(16000, 'sample rate of the sound in Hz')
    bound: bool = _option(
        False, 'bind sound and picture to each other, for audio-visual retrieval'
    )

    def __post_init__(self) -> None:
        checks = {
            'train_clips': self.train_clips >= 1,
            'test_clips': self.test_clips >= 1,
            'val_clips': self.val_clips >= 0,
            'seed': self.seed >= 0,
            'size': self.size >= 32 and self.size % 2 == 0,
            'fps': self.fps >= 1,
            'seconds': self.seconds >= 1.0,
            'sample_rate': self.sample_rate in SAMPLE_RATES,
        }
        wrong = [name for name, fine in checks.items() if not fine]
        if wrong:
            given = ', '.join(f'{name}={getattr(self, name)}' for name in wrong)
            raise ConfigError(
                f'Sounding Shapes can not be made with {given}. Needed: at least one '
                'training and test clip, an even size of 32 pixels or more, '
                f'1 s or more, a sample rate out of {SAMPLE_RATES} Hz.'
            )


#: of `coavt demo --small`: enough that every stage of the curriculum is reached
SMALL = Settings(train_clips=128, test_clips=40, val_clips=16)
SMALL_STEPS = 50


def small_options(data_root: str) -> list[str]:
    """What the demo's configs are changed by, to train briefly on :data:`SMALL` clips.

    Args:
        data_root: Folder of the clips.

    Returns:
        KEY=VALUE settings.
    """
    options = [
        f'model.tokenizer={data_root}/vocab.txt',
        f'train_cfg.max_iters={SMALL_STEPS}',
        f'train_cfg.val_interval={SMALL_STEPS}',
        f'param_scheduler.CosineAnnealingLR.begin={SMALL_STEPS // 2}',
        f'param_scheduler.CosineAnnealingLR.end={SMALL_STEPS}',
        f'default_hooks.checkpoint.interval={SMALL_STEPS}',
    ]
    for name in ('train', 'val', 'test'):
        dataset = f'{name}_dataloader.dataset'
        options += [
            f'{dataset}.data_root={data_root}',
            f'{dataset}.pipeline.TokenizeText.tokenizer={data_root}/vocab.txt',
        ]
    return options
