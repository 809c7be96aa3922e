"""Evaluate a demo checkpoint on the 200 held-out clips: retrieval in all streams and
score modes, matching accuracy, captions.

    python tools/test.py configs/coavt/retrieval_demo.py CHECKPOINT

Writes results, tables and plots to work_dirs/demo. The captions of one modality:
    --cfg-options test_dataloader.dataset.ann_file=test_partial.jsonl
"""

_base_ = './pretrain_demo.py'

out_dir = 'work_dirs/demo'

model = dict(
    test_cfg=dict(
        keep_tokens=True,  # for matching
        caption=dict(
            greedy=dict(max_new_tokens=40), beam=dict(num_beams=3, max_new_tokens=40)
        ),
    )
)
test_evaluator = [
    dict(
        type='RetrievalMetric',
        modes=('cosine', 'matching'),
        matching_accuracy=True,
        out_dir=out_dir,
        plots=True,
    ),
    dict(type='AttributeAccuracy', out_file=f'{out_dir}/captions.json'),
]
