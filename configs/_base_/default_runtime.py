default_scope = 'coavt_mm'

default_hooks = dict(
    # values are read from the device when they are logged, not behind each step
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=1000,  # iterations
        max_keep_ckpts=2,
        save_best='retrieval/text_to_clip/AV/R@1',
        rule='greater',
    ),
    # leaves out steps with NaN, and ends a run with more of them in 1,000 steps
    nonfinite=dict(type='SkippedStepsHook', max_skipped=10),
    # a line behind each of the log: features, similarities, answers, gradients
    health=dict(type='HealthHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # says what load_from loads, and refuses weights that don't fit
    fit=dict(type='FitCheckpointHook'),
    # a resumed run draws what an unbroken one would have drawn
    seed=dict(type='IterationSeedHook'),
    # re-ranking needs the model at evaluation
    share=dict(type='ShareModelHook'),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # s; the first process ranks and re-ranks alone, the others wait for it
    dist_cfg=dict(backend='nccl', timeout=7200),
)
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='mmengine.Visualizer', vis_backends=vis_backends)
log_processor = dict(by_epoch=False, window_size=50)
log_level = 'INFO'
randomness = dict(seed=0)
load_from = None
resume = False
