# The demo data; tools/data/make_sounding_shapes.py renders it.
data_root = 'data/sounding_shapes'
tokenizer = 'data/sounding_shapes/vocab.txt'
how_to_get = 'coavt prepare sounding-shapes data/sounding_shapes'
seconds = 2.56

frames = 10  # a clip has 26

# the steps, by name
load_frames = dict(type='LoadFrames', num_frames=frames, pick='random')
load_audio = dict(type='LoadAudio', seconds=seconds)
captions = dict(
    type='PickCaption',
    fields=dict(captions=0.8, audio_captions=0.1, visual_captions=0.1),
)
tokenize = dict(type='TokenizeText', tokenizer=tokenizer, max_tokens=48)
pack = dict(type='PackAVTInputs')
middle_frame = dict(type='LoadFrames', num_frames=frames, pick='middle')
all_frames = dict(type='LoadFrames', num_frames=frames, pick='all')
all_captions = dict(
    type='AllCaptions', fields=('captions', 'audio_captions', 'visual_captions')
)
train_pipeline = [load_frames, load_audio, captions, tokenize, pack]
test_pipeline = [middle_frame, load_audio, all_captions, tokenize, pack]

train_dataloader = dict(
    batch_size=32,
    collate_fn=dict(type='coavt_mm.stack_clips'),
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
held_out = dict(
    batch_size=50,
    collate_fn=dict(type='coavt_mm.stack_clips'),
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
val_dataloader = dict(
    held_out,
    persistent_workers=True,
    dataset=dict(held_out['dataset'], ann_file='val.jsonl'),
)
test_dataloader = held_out
val_evaluator = dict(type='RetrievalMetric')
test_evaluator = dict(type='RetrievalMetric')
