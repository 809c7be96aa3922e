# The demo data from shards. For NAME in train, val, test:
#   python tools/data/make_shards.py data/sounding_shapes/NAME.jsonl \
#       data/sounding_shapes_shards/NAME --data-root data/sounding_shapes --quality 95
_base_ = './sounding_shapes.py'

data_root = 'data/sounding_shapes_shards'
how_to_get = 'see docs/shards.md: python tools/data/make_shards.py'

# only the loading differs
load_frames = dict(_base_.load_frames, type='LoadShardFrames')
middle_frame = dict(_base_.middle_frame, type='LoadShardFrames')
load_audio = dict(_base_.load_audio, type='LoadShardAudio')
train_pipeline = [
    load_frames,
    load_audio,
    _base_.captions,
    _base_.tokenize,
    _base_.pack,
]
test_pipeline = [
    middle_frame,
    load_audio,
    _base_.all_captions,
    _base_.tokenize,
    _base_.pack,
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
