"""Test CAV-MAE's converted VGGSound classifier on clips as CAV-MAE prepared them.

    python tools/converters/cavmae.py vggsound_audio_model.pth classifier.pth
    python tools/test.py configs/coavt/cls_vggsound_cavmae.py classifier.pth

Data: data/vggsound/test.jsonl and the clips, see cls_vggsound.py. Only the test data
differ from there: earlier frames, bilinear pictures that went through JPEG, sound up to
10.255 s.
"""

_base_ = ['./cls_vggsound.py', '../_base_/datasets/cavmae_clips.py']

test_dataloader = dict(dataset=dict(pipeline=_base_.cavmae_clips))
test_evaluator = dict(out_dir='work_dirs/cls_vggsound_cavmae')
