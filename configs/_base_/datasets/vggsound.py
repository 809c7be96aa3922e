# VGGSound as tools/data/prepare_vggsound.py lays it out.
data_root = 'data/vggsound'
tokenizer = 'bert-base-uncased'
how_to_get = 'see docs/data.md: python tools/data/prepare_vggsound.py'

# VGGSound has labels and no captions: a label becomes text through a template.
# Where a manifest has captions, they are used.
templates = [
    'the sound and sight of {}',
    'a video of {}',
    'a clip in which one sees and hears {}',
    '{}',
]
resize_and_crop = dict(
    type='IfVisual',
    transforms=[
        dict(type='Resize', scale=(-1, 224)),
        dict(type='CenterCrop', crop_size=224),
    ],
)
train_pipeline = [
    dict(type='LoadFrames', num_frames=10, pick='random'),
    resize_and_crop,
    dict(type='LoadAudio', seconds=10.0),
    dict(type='PickCaption', templates=templates),
    dict(type='TokenizeText', tokenizer=tokenizer, max_tokens=32),
    dict(type='PackAVTInputs'),
]
test_pipeline = [
    dict(type='LoadFrames', num_frames=10, pick='middle'),
    resize_and_crop,
    dict(type='LoadAudio', seconds=10.0),
    dict(type='AllCaptions', templates=templates[:1]),
    dict(type='TokenizeText', tokenizer=tokenizer, max_tokens=32),
    dict(type='PackAVTInputs'),
]

train_dataloader = dict(
    batch_size=32,  # clips a GPU
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='ResumableSampler', shuffle=True, seed=0),
    dataset=dict(
        type='AVTDataset',
        ann_file='train.jsonl',
        data_root=data_root,
        pipeline=train_pipeline,
        how_to_get=how_to_get,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='AVTDataset',
        ann_file='test.jsonl',
        data_root=data_root,
        pipeline=test_pipeline,
        test_mode=True,
        missing='skip',  # clips vanish from the web; counted in every result
        how_to_get=how_to_get,
    ),
)
test_dataloader = val_dataloader
# all clips of a class carry one text: it is right for each of them
val_evaluator = dict(type='RetrievalMetric', equal_texts=True)
test_evaluator = val_evaluator
