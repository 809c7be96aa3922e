# VGGSound from shards. For each manifest of vggsound.py:
#   python tools/data/make_shards.py data/vggsound/train.jsonl \
#       data/vggsound_shards/train --data-root data/vggsound
_base_ = './vggsound.py'

data_root = 'data/vggsound_shards'
how_to_get = 'see docs/shards.md: coavt shards'
shards = dict(type='AVTShardDataset', data_root=data_root, how_to_get=how_to_get)

train_dataloader = dict(
    sampler=dict(type='ShardSampler', buffer=16),
    dataset=dict(ann_file='train/index.jsonl', **shards),
)
val_dataloader = dict(dataset=dict(ann_file='val/index.jsonl', **shards))
test_dataloader = dict(dataset=dict(ann_file='test/index.jsonl', **shards))
