# VGGSound as tools/data/prepare_vggsound.py lays it out.
data_root = 'data/vggsound'
tokenizer = 'bert-base-uncased'
how_to_get = 'see docs/data.md: coavt prepare vggsound'
frames = 10  # of each clip, evenly spaced
frame_size = 224  # pixels
seconds = 10.0

# VGGSound has labels and no captions: a label becomes text through a template.
# Where a manifest has captions, they are used.
templates = [
    'the sound and sight of {}',
    'a video of {}',
    'a clip in which one sees and hears {}',
    '{}',
]
# the steps, by name
load_frames = dict(type='LoadFrames', num_frames=frames, pick='random')
resize_and_crop = dict(
    type='IfVisual',
    transforms=[
        dict(type='Resize', scale=(-1, frame_size)),
        dict(type='CenterCrop', crop_size=frame_size),
    ],
)
load_audio = dict(type='LoadAudio', seconds=seconds)
captions = dict(type='PickCaption', templates=templates)
tokenize = dict(type='TokenizeText', tokenizer=tokenizer, max_tokens=32)
pack = dict(type='PackAVTInputs')
middle_frame = dict(type='LoadFrames', num_frames=frames, pick='middle')
all_frames = dict(type='LoadFrames', num_frames=frames, pick='all')
all_captions = dict(type='AllCaptions', templates=templates[:1])
train_pipeline = [
    load_frames,
    resize_and_crop,
    load_audio,
    captions,
    tokenize,
    pack,
]
test_pipeline = [
    middle_frame,
    resize_and_crop,
    load_audio,
    all_captions,
    tokenize,
    pack,
]

train_dataloader = dict(
    batch_size=32,  # clips per GPU
    collate_fn=dict(type='coavt_mm.stack_clips'),
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
held_out = dict(
    batch_size=64,
    collate_fn=dict(type='coavt_mm.stack_clips'),
    num_workers=8,
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
# cut from the training list: a checkpoint must not be chosen by the test clips
val_dataloader = dict(
    held_out,
    persistent_workers=True,
    dataset=dict(held_out['dataset'], ann_file='val.jsonl'),
)
test_dataloader = held_out
# all clips of a class carry one text: it is right for each of them
val_evaluator = dict(type='RetrievalMetric', equal_texts=True)
test_evaluator = val_evaluator
