"""Text-to-clip retrieval on AudioCaps by a pre-trained CoAVT, as it is.

    python tools/test.py configs/coavt/retrieval_audiocaps_zeroshot.py PRETRAINED

Data, protocol, score modes, frames and memory: as retrieval_audiocaps_finetune.py, of
which this is the test. Results go to work_dirs/retrieval_audiocaps_zeroshot.

Leak: all 975 test clips of AudioCaps are in the training list of AudioSet. After
pre-training on AudioSet a number is zero-shot only if they were left out:
    python tools/data/check_leak.py data/audioset/unbalanced_train.jsonl \
        data/audiocaps/test.jsonl --out data/audioset/not_audiocaps_test.txt
    python tools/train.py ... --cfg-options \
        train_dataloader.dataset.exclude=data/audioset/not_audiocaps_test.txt
"""

_base_ = './retrieval_audiocaps_finetune.py'

test_evaluator = dict(
    out_dir='work_dirs/retrieval_audiocaps_zeroshot',
    note="Zero-shot only if pre-training left these clips out: AudioSet's training "
    'list has all 975 of the AudioCaps test set.',
)
