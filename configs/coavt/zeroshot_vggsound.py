"""Classify VGGSound without training on its labels: class names in sentences.

    python tools/test.py configs/coavt/zeroshot_vggsound.py CHECKPOINT

Data: data/vggsound/test.jsonl and the clips, as written by
tools/data/prepare_vggsound.py. CHECKPOINT: a CoAVT pre-trained on captions. One trained
by pretrain_vggsound.py has seen these sentences with their clips' labels: with it, this
is no zero-shot number. Any GPU will do.
Without access to a model hub, give the tokenizer as a local directory:
    --cfg-options tokenizer=DIR
"""

_base_ = './pretrain_vggsound.py'

test_pipeline = [
    _base_.all_frames,
    _base_.resize_and_crop,
    _base_.load_audio,
    _base_.pack,
]
test_dataloader = dict(batch_size=16, dataset=dict(pipeline=test_pipeline))
test_evaluator = dict(
    _delete_=True,
    type='ZeroShotMetric',
    templates=_base_.templates,
    out_dir='work_dirs/zeroshot_vggsound',
)
