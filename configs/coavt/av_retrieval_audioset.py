"""Audio-visual retrieval on AudioSet by a pre-trained CoAVT: sound -> picture and back.

    python tools/data/make_protocol.py audioset-av-5 data/audioset/eval.jsonl
    python tools/test.py configs/coavt/av_retrieval_audioset.py PRETRAINED

Data: data/audioset/eval.jsonl and the clips, as written by
tools/data/prepare_audioset.py with --drop silent no_sound no_picture. Five clips a
class (a clip may stand for several of its classes). CAV-MAE's own list of about 1,725
clips, if you have it: make_protocol.py --ids. All else as av_retrieval_vggsound.py.
"""

_base_ = './av_retrieval_vggsound.py'

data_root = 'data/audioset'
audioset = dict(
    data_root=data_root,
    how_to_get='see docs/data.md: coavt prepare audioset',
)
train_dataloader = dict(dataset=dict(ann_file='unbalanced_train.jsonl', **audioset))
val_dataloader = dict(dataset=dict(ann_file='eval.jsonl', **audioset))
test_dataloader = dict(dataset=dict(ann_file='audioset-av-5.jsonl', **audioset))
test_evaluator = dict(out_dir='work_dirs/av_retrieval_audioset')
