"""Classify VGGSound by an encoder of others: class names in sentences, streams apart.

    python tools/test.py configs/peers/peer_zeroshot_vggsound.py PEER

PEER: a folder or hub id of CLAP (stream A), CLIP or SigLIP (V) or PE-AV (all three),
see docs/peers.md. Data: data/vggsound/test.jsonl and the clips, as written by
tools/data/prepare_vggsound.py. Results go to work_dirs/peer_zeroshot_vggsound.
"""

_base_ = [
    '../_base_/datasets/vggsound.py',
    '../_base_/models/peer.py',
    '../_base_/default_runtime.py',
]

train_dataloader = val_dataloader = val_evaluator = None
test_pipeline = [_base_.peer_frames, _base_.peer_sound, _base_.pack]
test_dataloader = dict(_base_.peer_loader, dataset=dict(pipeline=test_pipeline))
test_evaluator = dict(
    _delete_=True,
    type='ZeroShotMetric',
    templates=_base_.templates,
    out_dir='work_dirs/peer_zeroshot_vggsound',
)
