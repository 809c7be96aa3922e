# AudioSet for classification, as tools/data/prepare_audioset.py lays it out. A config
# sets the training manifest.
_base_ = './vggsound_cls.py'

data_root = 'data/audioset'
how_to_get = 'see docs/data.md: python tools/data/prepare_audioset.py'

train_dataloader = dict(dataset=dict(data_root=data_root, how_to_get=how_to_get))
val_dataloader = dict(
    dataset=dict(ann_file='eval.jsonl', data_root=data_root, how_to_get=how_to_get)
)
test_dataloader = dict(
    dataset=dict(ann_file='eval.jsonl', data_root=data_root, how_to_get=how_to_get)
)
val_evaluator = dict(task='multi_label')
test_evaluator = dict(task='multi_label')
