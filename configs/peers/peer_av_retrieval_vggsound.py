"""Audio-visual retrieval on VGGSound by an encoder of others, in both directions.

    python tools/data/make_protocol.py vggsound-av-5 data/vggsound/test.jsonl
    python tools/test.py configs/peers/peer_av_retrieval_vggsound.py PEER

PEER: a folder or hub id of PE-AV, the one that has both, see docs/peers.md. Data: as
for configs/coavt/av_retrieval_vggsound.py, five clips a class. Results go to
work_dirs/peer_av_retrieval_vggsound.
"""

_base_ = [
    '../_base_/datasets/vggsound.py',
    '../_base_/models/peer.py',
    '../_base_/default_runtime.py',
]

train_dataloader = val_dataloader = val_evaluator = None
test_pipeline = [_base_.peer_frames, _base_.peer_sound, _base_.pack]
test_dataloader = dict(
    _base_.peer_loader,
    dataset=dict(ann_file='vggsound-av-5.jsonl', pipeline=test_pipeline),
)
test_evaluator = dict(
    _delete_=True,
    type='AVRetrievalMetric',
    spaces=('query',),  # the one space of a peer
    out_dir='work_dirs/peer_av_retrieval_vggsound',
)
