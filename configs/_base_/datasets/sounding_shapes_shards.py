# The demo data from shards. For NAME in train, val, test:
#   python tools/data/make_shards.py data/sounding_shapes/NAME.jsonl \
#       data/sounding_shapes_shards/NAME --data-root data/sounding_shapes --quality 95
_base_ = './sounding_shapes.py'

data_root = 'data/sounding_shapes_shards'
how_to_get = 'see docs/shards.md: coavt shards'
shards = dict(type='AVTShardDataset', data_root=data_root, how_to_get=how_to_get)

train_dataloader = dict(
    sampler=dict(type='ShardSampler', buffer=16),
    dataset=dict(ann_file='train/index.jsonl', **shards),
)
val_dataloader = dict(dataset=dict(ann_file='val/index.jsonl', **shards))
test_dataloader = dict(dataset=dict(ann_file='test/index.jsonl', **shards))
