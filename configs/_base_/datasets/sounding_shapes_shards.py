# The demo data from shards. For NAME in train, val, test:
#   python tools/data/make_shards.py data/sounding_shapes/NAME.jsonl \
#       data/sounding_shapes_shards/NAME --data-root data/sounding_shapes --quality 95
_base_ = './sounding_shapes.py'

data_root = 'data/sounding_shapes_shards'
how_to_get = 'see docs/shards.md: python tools/data/make_shards.py'

# LoadFrames, LoadAudio, then text: only the loading differs
train_pipeline = [
    dict(type='LoadShardFrames', num_frames=10, pick='random'),
    dict(type='LoadShardAudio', seconds=_base_.seconds),
    *_base_.train_pipeline[2:],
]
test_pipeline = [
    dict(type='LoadShardFrames', num_frames=10, pick='middle'),
    dict(type='LoadShardAudio', seconds=_base_.seconds),
    *_base_.test_pipeline[2:],
]
shards = dict(type='AVTShardDataset', data_root=data_root, how_to_get=how_to_get)
train_dataloader = dict(
    sampler=dict(type='ShardSampler', buffer=16),
    dataset=dict(ann_file='train/index.jsonl', pipeline=train_pipeline, **shards),
)
val_dataloader = dict(
    dataset=dict(ann_file='val/index.jsonl', pipeline=test_pipeline, **shards),
)
test_dataloader = dict(
    dataset=dict(ann_file='test/index.jsonl', pipeline=test_pipeline, **shards),
)
