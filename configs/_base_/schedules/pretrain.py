# BLIP-2's stage-1 optimiser; a config adds max_iters, and warm-up and cosine with
# BLIP-2's rates. They go by iterations; LAVIS' own course is EpochCosineLR, see
# docs/training.md.
optim_wrapper = dict(
    type='BF16OptimWrapper',
    constructor='ScalarDecayConstructor',  # a temperature is flat, too
    optimizer=dict(
        type='AdamW', lr=1e-4, betas=(0.9, 0.98), weight_decay=0.05, fused=True
    ),
    clip_grad=dict(max_norm=1.0),
    accumulative_counts=1,
    # no decay on norms, biases, other vectors, scalars and the queries
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys=dict(
            query_tokens=dict(decay_mult=0.0), modality=dict(decay_mult=0.0)
        ),
    ),
)
train_cfg = dict(type='ResumableIterLoop')
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=256)  # clips of all GPUs
