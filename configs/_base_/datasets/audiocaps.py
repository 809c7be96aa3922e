# AudioCaps as tools/data/prepare_audiocaps.py lays it out.
data_root = 'data/audiocaps'
tokenizer = 'bert-base-uncased'
how_to_get = 'see docs/data.md: python tools/data/prepare_audiocaps.py'

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
    dict(type='PickCaption'),
    dict(type='TokenizeText', tokenizer=tokenizer, max_tokens=32),
    dict(type='PackAVTInputs'),
]
test_pipeline = [
    dict(type='LoadFrames', num_frames=10, pick='middle'),
    resize_and_crop,
    dict(type='LoadAudio', seconds=10.0),
    dict(type='AllCaptions'),  # five a clip
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
        ann_file='val.jsonl',
        data_root=data_root,
        pipeline=test_pipeline,
        test_mode=True,
        missing='skip',  # clips vanish from the web; counted in every result
        how_to_get=how_to_get,
    ),
)
test_dataloader = dict(
    batch_size=64,
    num_workers=8,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='AVTDataset',
        ann_file='test.jsonl',
        data_root=data_root,
        pipeline=test_pipeline,
        test_mode=True,
        missing='skip',
        how_to_get=how_to_get,
    ),
)
val_evaluator = dict(type='RetrievalMetric')
test_evaluator = dict(type='RetrievalMetric')
