"""Name the seven factors of the 200 held-out demo clips by prompts: one sentence names
all seven, its 20,736 combinations compete, and each factor is a label set of its own.

    python tools/test.py configs/coavt/zeroshot_demo.py work_dirs/demo/checkpoint.pth

Writes accuracy by factor and stream, the mean, and what a perfect model could reach on
sound or picture alone, to work_dirs/zeroshot_demo.
"""

_base_ = './pretrain_demo.py'

from coavt_mm.demo import grammar  # noqa: E402

test_pipeline = [_base_.middle_frame, _base_.load_audio, _base_.pack]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_evaluator = dict(
    _delete_=True,
    type='ZeroShotMetric',
    label_sets={factor: list(names) for factor, names in grammar.FACTORS.items()},
    templates=f'{grammar.VISUAL_TEMPLATES[0]} while {grammar.AUDIO_TEMPLATES[0]}',
    words={'light ground': 'light', 'dark ground': 'dark'},
    observable_classes=dict(
        AV=grammar.class_names(),
        A=grammar.class_names(grammar.AUDIO_FACTORS),
        V=grammar.class_names(grammar.VISUAL_FACTORS),
    ),
    out_dir='work_dirs/zeroshot_demo',
)
