# A classifier on the encoder of coavt_base.py. A config sets num_classes and loss.
_base_ = './coavt_base.py'

# model = dict(query_encoder=_base_.query_reader) pools over queries instead of tokens
query_reader = _base_.model.query_encoder

model = dict(
    _delete_=True,
    type='CoAVTClassifier',
    data_preprocessor=dict(
        **_base_.model.data_preprocessor,
        augment=dict(
            mixup=0.5,  # probability
            mixup_alpha=10,  # Beta(10, 10)
            freq_mask=48,  # mel bins
            time_mask=192,  # frames of 10 ms
            noise=0.1,  # largest amplitude, in normalised units
            time_roll=1024,  # frames; any circular shift
        ),
    ),
    backbone=_base_.model.av_encoder,
    head=dict(type='ClassificationHead', num_classes=527, label_smoothing=0.1),
    frozen=False,  # True: linear probe
    stream='AV',  # what is trained: AV, A or V
    # another `stream` tests the AV-trained model with one modality missing
    test_cfg=dict(stream=None, missing='average'),
)
# in every stream, norms of the other two get no gradient
find_unused_parameters = True
