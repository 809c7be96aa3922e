# The demo data; tools/data/make_sounding_shapes.py renders it.
data_root = 'data/sounding_shapes'
tokenizer = 'data/sounding_shapes/vocab.txt'
how_to_get = 'python tools/data/make_sounding_shapes.py data/sounding_shapes'
seconds = 2.56

train_pipeline = [
    dict(type='LoadFrames', num_frames=10, pick='random'),
    dict(type='LoadAudio', seconds=seconds),
    dict(
        type='PickCaption',
        fields=dict(captions=0.8, audio_captions=0.1, visual_captions=0.1),
    ),
    dict(type='TokenizeText', tokenizer=tokenizer, max_tokens=48),
    dict(type='PackAVTInputs'),
]
test_pipeline = [
    dict(type='LoadFrames', num_frames=10, pick='middle'),
    dict(type='LoadAudio', seconds=seconds),
    dict(type='AllCaptions', fields=('captions', 'audio_captions', 'visual_captions')),
    dict(type='TokenizeText', tokenizer=tokenizer, max_tokens=48),
    dict(type='PackAVTInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
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
    batch_size=50,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='AVTDataset',
        ann_file='val.jsonl',
        data_root=data_root,
        pipeline=test_pipeline,
        test_mode=True,
        how_to_get=how_to_get,
    ),
)
test_dataloader = dict(
    batch_size=50,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='AVTDataset',
        ann_file='test.jsonl',
        data_root=data_root,
        pipeline=test_pipeline,
        test_mode=True,
        how_to_get=how_to_get,
    ),
)
val_evaluator = dict(type='RetrievalMetric')
test_evaluator = dict(type='RetrievalMetric')
