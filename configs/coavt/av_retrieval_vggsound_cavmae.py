"""Sound -> picture and back on VGGSound by CAV-MAE's converted weights, on clips as
CAV-MAE prepared them.

    python tools/converters/cavmae.py audio_model.25.pth encoder.pth
    python tools/converters/own.py start.pth av_encoder=encoder.pth
    python tools/test.py configs/coavt/av_retrieval_vggsound_cavmae.py start.pth

Data and protocol: see av_retrieval_vggsound.py. Only the features `encoder` say
something, for the queries are not trained. Test data as in cls_vggsound_cavmae.py, with
the middle frame.
"""

_base_ = ['./av_retrieval_vggsound.py', '../_base_/datasets/cavmae_clips.py']

test_pipeline = [
    _base_.cavmae_middle_frame,
    _base_.cavmae_resize,
    _base_.cavmae_audio,
    _base_.pack,
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_evaluator = dict(out_dir='work_dirs/av_retrieval_vggsound_cavmae')
