"""Audio-visual retrieval on VGGSound by a pre-trained CoAVT: sound -> picture and back.

    python tools/data/make_protocol.py vggsound-av-5 data/vggsound/test.jsonl
    python tools/test.py configs/coavt/av_retrieval_vggsound.py PRETRAINED

Data: data/vggsound/test.jsonl and the clips, as written by
tools/data/prepare_vggsound.py with --drop silent no_sound no_picture. Five clips a
class, 1,545 in all; no text is read. One GPU, or a CPU with patience.

The middle frame, no masking. Features: the mean tokens of E_A and E_V (CAV-MAE's way),
and the mean queries. Results go to work_dirs/av_retrieval_vggsound. `train.py` with
this config is pre-training, see pretrain_vggsound.py.
"""

_base_ = './pretrain_vggsound.py'

test_pipeline = [
    _base_.middle_frame,
    _base_.resize_and_crop,
    _base_.load_audio,
    _base_.pack,
]
test_dataloader = dict(
    dataset=dict(ann_file='vggsound-av-5.jsonl', pipeline=test_pipeline)
)
test_evaluator = dict(
    _delete_=True,
    type='AVRetrievalMetric',
    out_dir='work_dirs/av_retrieval_vggsound',
)
