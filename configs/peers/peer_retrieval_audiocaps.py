"""Text-to-clip retrieval on AudioCaps by an encoder of others, streams apart.

    python tools/test.py configs/peers/peer_retrieval_audiocaps.py PEER

PEER: a folder or hub id of CLAP (stream A), CLIP or SigLIP (V) or PE-AV (all three),
see docs/peers.md. Data: data/audiocaps/test.jsonl and the clips, as written by
tools/data/prepare_audiocaps.py. Plain cosine, five captions per clip. Any GPU will do.
Results go to work_dirs/peer_retrieval_audiocaps.
"""

_base_ = [
    '../_base_/datasets/audiocaps.py',
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
test_evaluator = dict(out_dir='work_dirs/peer_retrieval_audiocaps')
