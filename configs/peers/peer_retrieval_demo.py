"""Retrieval of the 200 held-out demo clips by an encoder of others, streams apart.

    python tools/test.py configs/peers/peer_retrieval_demo.py PEER

PEER: a folder or hub id of CLAP, CLIP, SigLIP or PE-AV, see docs/peers.md. The clips
are of coloured shapes and tones, which no peer was trained on. Results go to
work_dirs/peer_retrieval_demo.
"""

_base_ = [
    '../_base_/datasets/sounding_shapes.py',
    '../_base_/models/peer.py',
    '../_base_/default_runtime.py',
]

train_dataloader = val_dataloader = val_evaluator = None
test_pipeline = [
    _base_.peer_frames,
    _base_.peer_sound,
    _base_.all_captions,
    _base_.pack,
]
test_dataloader = dict(_base_.peer_loader, dataset=dict(pipeline=test_pipeline))
test_evaluator = dict(out_dir='work_dirs/peer_retrieval_demo')
