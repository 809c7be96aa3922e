# AudioSet for classification, as tools/data/prepare_audioset.py lays it out. A config
# sets the training manifest.
_base_ = './vggsound_cls.py'

data_root = 'data/audioset'
how_to_get = 'see docs/data.md: coavt prepare audioset'

here = dict(data_root=data_root, how_to_get=how_to_get)
train_dataloader = dict(dataset=here)
val_dataloader = dict(dataset=dict(here, ann_file='eval.jsonl'))
test_dataloader = val_dataloader
val_evaluator = dict(task='multi_label')
test_evaluator = dict(task='multi_label')
