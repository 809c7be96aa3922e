# VGGSound from shards. For each manifest of vggsound.py:
#   python tools/data/make_shards.py data/vggsound/train.jsonl \
#       data/vggsound_shards/train --data-root data/vggsound
_base_ = './vggsound.py'

data_root = 'data/vggsound_shards'
how_to_get = 'see docs/shards.md: python tools/data/make_shards.py'

# LoadFrames, resize and crop, LoadAudio, then text: only the loading differs
train_pipeline = [
    dict(type='LoadShardFrames', num_frames=10, pick='random'),
    _base_.train_pipeline[1],
    dict(type='LoadShardAudio', seconds=10.0),
    *_base_.train_pipeline[3:],
]
test_pipeline = [
    dict(type='LoadShardFrames', num_frames=10, pick='middle'),
    _base_.test_pipeline[1],
    dict(type='LoadShardAudio', seconds=10.0),
    *_base_.test_pipeline[3:],
]
shards = dict(type='AVTShardDataset', data_root=data_root, how_to_get=how_to_get)
train_dataloader = dict(
    sampler=dict(type='ShardSampler', buffer=16),
    dataset=dict(ann_file='train/index.jsonl', pipeline=train_pipeline, **shards),
)
val_dataloader = dict(
    dataset=dict(ann_file='test/index.jsonl', pipeline=test_pipeline, **shards),
)
test_dataloader = val_dataloader
