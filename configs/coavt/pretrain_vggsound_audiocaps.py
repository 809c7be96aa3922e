"""Pre-train CoAVT on two data sets at once: VGGSound and AudioCaps.

    python tools/train.py configs/coavt/pretrain_vggsound_audiocaps.py

Data: data/vggsound and data/audiocaps, as written by the prepare tools. An epoch is all
clips of both, in one order. A clip with captions is described by one of them, a clip
without by its label through a template (docs/data.md#two-data-sets-in-one-training).
Validation is on VGGSound. Everything else is as in pretrain_vggsound.py.
"""

_base_ = './pretrain_vggsound.py'

vggsound = _base_.train_dataloader.dataset
audiocaps = dict(
    vggsound,
    data_root='data/audiocaps',
    how_to_get='see docs/data.md: coavt prepare audiocaps',
)
train_dataloader = dict(
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[vggsound, audiocaps])
)
