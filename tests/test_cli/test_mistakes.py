"""Mistakes of a first hour: each is one line that says what to do, and comes early."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from mmengine.config import Config
from small_runs import WORDS

from coavt_mm.cli import launch
from coavt_mm.models import CoAVT

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(data, tmp_path, monkeypatch, capsys):
    """Runs ``train`` or ``test``; what it printed, and how many models were built."""
    built = []
    init = CoAVT.__init__

    @functools.wraps(init)  # its arguments are stored
    def counted(self, *args, **kwargs):
        built.append(self)
        init(self, *args, **kwargs)

    monkeypatch.setattr(CoAVT, '__init__', counted)
    monkeypatch.chdir(tmp_path)

    def run(*options, config=data / 'config.py', command=launch.train, words=()):
        # a log for each run, also of one that begins in the same second
        named = ['--cfg-options', f'experiment_name={uuid4().hex}', *options]
        line = [str(config), *words, '--work-dir', 'run', *named]
        status = 0
        try:
            launch.run_tool(lambda: command(line))
        except SystemExit as ended:
            status = ended.code
        said = capsys.readouterr()
        return status, said.out, said.err, len(built)

    return run


def one_line(err):
    assert err.count('\n') == 1 and err.startswith('Error: '), err
    return err


# what is typed -> what is answered, without a model
EARLY = {
    'a key': (['model.qwidth=3'], "unknown key 'model.qwidth'"),
    'a kind': (['train_cfg.max_iters=many'], 'a number there, this is text'),
    'a folder': (
        ['train_dataloader.dataset.ann_file=train.jsonl',
         'train_dataloader.dataset.data_root=no where'],
        'no where/train.jsonl; coavt prepare sounding-shapes',
    ),
    'a file as manifest of two': (
        ['train_dataloader.dataset.ann_file=[a.jsonl, b.jsonl]'],
        "type='ConcatDataset'",
    ),
    'a checkpoint': (
        ['load_from=mein lauf/iter 1.pth'],
        'mein lauf/iter 1.pth: there is no such checkpoint file',
    ),
    'weights of a part': (
        ["model.av_encoder.init_cfg={'type': 'Converted', 'checkpoint': 'a b.pth'}"],
        'a b.pth: there is no such checkpoint file (model.av_encoder.init_cfg',
    ),
    'the tokenizer of the model': (
        ['model.tokenizer=nope.txt'],
        'model.tokenizer=nope.txt: no such file or directory',
    ),
    'the tokenizer of the data': (
        ['train_dataloader.dataset.pipeline.TokenizeText.tokenizer=/no/bert'],
        'pipeline.3.tokenizer=/no/bert: no such file',
    ),
    'no batch': (['train_dataloader.batch_size=0'], 'batch_size=0: a batch has 1 clip'),
    'workers': (['val_dataloader.num_workers=-1'], 'val_dataloader.num_workers=-1'),
    'no step': (['train_cfg.max_iters=0'], 'train_cfg.max_iters=0: must be a whole'),
    'no validation': (['train_cfg.val_interval=0'], 'val_interval=0: must be a whole'),
    'no length of a schedule': (
        ["param_scheduler=[{'type': 'CosineAnnealingLR', 'by_epoch': False}]"],
        'CosineAnnealingLR has no T_max and no end',
    ),
    'a schedule the wrong way round': (
        ['param_scheduler.0.begin=9', 'param_scheduler.0.end=5'],
        'LinearLR would begin at 9 and end at 5',
    ),
    'a batch that rates are for': (
        ['auto_scale_lr.base_batch_size=0'],
        'base_batch_size=0: must be a whole number, 1 or more',
    ),
    'a number for a file': (['load_from=5'], 'load_from=5: must be str'),
    'a number for a switch': (['compile=5'], 'compile=5: must be bool or dict'),
    'no GPU': (
        ['optim_wrapper.type=AmpOptimWrapper'],
        'AmpOptimWrapper needs a GPU',
    ),
    'no room for a text': (
        ['train_dataloader.dataset.pipeline.TokenizeText.max_tokens=1'],
        'max_tokens=1 must be a whole number of at least 2',
    ),
    'a source of checkpoints': (['load_from=s3://b/x.pth'], 'http:// and https://'),
    'no such runner': (['runner_type=Runer'], 'there is no such Runner'),
}  # fmt: skip


@pytest.mark.parametrize(('options', 'answer'), EARLY.values(), ids=EARLY)
def test_a_mistake_is_one_line_before_a_model_is_built(start, options, answer):
    if 'AmpOptimWrapper' in options[0] and torch.cuda.is_available():
        pytest.skip('there is a GPU')
    status, out, err, built = start(*options)
    assert status == 1 and answer in one_line(err)
    assert not out and not built
    assert not Path('run').exists(), 'a failed start leaves nothing'


def test_an_option_that_the_dictionary_can_not_be(start):
    status, _, err, built = start('model.tokenizer')
    assert status == 2 and "'model.tokenizer' is not KEY=VALUE" in err and not built


MANIFESTS = {
    'empty': ('\n', 'the manifest has no rows'),
    'a key': ('{"clp": "clip.mp4"}\n', "m.jsonl:1: unknown key 'clp'; did you mean"),
    'no JSON': ('clip.mp4,a red star\n', 'm.jsonl:1: '),
    'clips that are not there': (
        '{"clip": "gone.mp4"}\n{"clip": "clip.mp4"}\n{"clip": "lost.mp4"}\n',
        'm.jsonl: 2 of 3 clips are not on disk, the first is ',
    ),
}


@pytest.mark.parametrize(('text', 'answer'), MANIFESTS.values(), ids=MANIFESTS)
@pytest.mark.parametrize('loader', ['train', 'val'])
def test_a_manifest_that_is_wrong(start, tmp_path, loader, text, answer):
    (tmp_path / 'm.jsonl').write_text(text)
    manifest = f'{loader}_dataloader.dataset.ann_file={tmp_path}/m.jsonl'
    status, out, err, built = start(manifest)
    assert status == 1 and answer in one_line(err) and not out and not built


def test_a_label_that_is_no_class(start):
    status, _, err, built = start('train_dataloader.dataset.classes=[stare, ball]')
    assert status == 1 and not built
    assert "clip 0: label 'star' is not among the 2 classes; did you mean 'stare'" in (
        one_line(err)
    )


@pytest.mark.parametrize(
    ('part', 'key', 'nearest'),
    [
        ('model.av_encoder', 'num_head', 'num_heads'),
        ('default_hooks.checkpoint', 'intervl', 'interval'),
        ('train_dataloader.dataset', 'data_rot', 'data_root'),
        ('val_dataloader.dataset.pipeline.0', 'pik', 'pick'),
    ],
)
def test_a_config_whose_classes_do_not_take_what_it_says(
    start, data, part, key, nearest
):
    cfg = Config.fromfile(str(data / 'config.py'))
    node = cfg
    for name in part.split('.'):
        node = node[int(name) if name.isdigit() else name]
    node[key] = 3
    cfg.dump('mine.py')
    status, out, err, built = start(config='mine.py')
    assert status == 1 and not out and not built
    assert f'{part}.{key}: ' in one_line(err)
    assert f"does not take '{key}'; did you mean '{nearest}'?" in err


def test_a_work_dir_that_is_a_file(start, tmp_path):
    (tmp_path / 'run').touch()
    status, _, err, built = start()
    assert status == 1 and 'nothing can be written there' in one_line(err) and not built


def test_a_checkpoint_that_is_not_there(start):
    status, out, err, built = start(command=launch.test, words=['no such.pth'])
    assert status == 1 and 'no such.pth: there is no such' in one_line(err)
    assert not out and not built


def test_a_path_is_looked_for_before_torch_is_imported(data, tmp_path):
    """A process of its own: here torch is there already."""
    path = {'PYTHONPATH': str(ROOT)}
    (tmp_path / 'empty.pth').touch()
    train = ['train', str(data / 'config.py')]
    options = [*train, '--cfg-options']
    clip = str(data / 'clip.mp4')
    lines = [
        ['train', 'nowhere.py'],
        [*train, '--resume', 'no such.pth'],
        [*train, '--launcher', 'pytorch'],
        [*options, 'train_dataloader.batch_size=0'],
        [*options, 'train_cfg.max_iters=0'],
        [*options, 'model.av_encoder.num_head=3'],
        [*options, 'optim_wrapper.optimizer.lrr=3'],
        [*options, 'param_scheduler.0.begn=3'],
        [*options, 'default_hooks.checkpoint.intervl=3'],
        [*options, 'train_dataloader.batchsize=3'],
        [*options, 'randomness.sed=3'],
        [*options, 'model.type=CoAVTT'],
        [*options, 'train_dataloader.dataset.classes=[ball]'],
        ['embed', 'empty.pth', clip, '--out', 'x.doc'],
        ['caption', 'empty.pth', 'no clip.mp4'],
        ['caption', 'no such.pth', clip],
        ['convert', 'cavmae', 'no such.pth', 'out.pth'],
        ['shards', 'no.jsonl', 'out'],
    ]
    code = (
        'import sys, json\n'
        'from coavt_mm.cli.launch import run_tool\n'
        'from coavt_mm.cli.main import main\n'
        'for line in json.loads(sys.argv[1]):\n'
        '    try:\n'
        '        run_tool(lambda: main(line))\n'
        '    except SystemExit as ended:\n'
        '        assert ended.code == 1\n'
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, '-c', code, json.dumps(lines)],
        env={k: v for k, v in os.environ.items() if k != 'RANK'} | path,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert len(said) == len(lines) and all(x.startswith('Error: ') for x in said), said


# --------------------------------------------------------------------------------------
# What only the model can tell
# --------------------------------------------------------------------------------------
def test_a_tokenizer_with_more_words_than_the_model(start, tmp_path):
    words = [*WORDS, *(f'w{i}' for i in range(300))]
    (tmp_path / 'big.txt').write_text('\n'.join(words))
    key = 'dataloader.dataset.pipeline.TokenizeText.tokenizer'
    given = [f'{name}_{key}=big.txt' for name in ('train', 'val')]
    status, out, err, _ = start(*given, 'model.tokenizer=big.txt')
    assert status == 1 and not out
    assert 'big.txt has 309 word pieces, model.text_encoder knows 200' in one_line(err)


@pytest.mark.parametrize('place', ['dec_token_id', 'end_token_id'])
def test_ids_that_are_not_the_tokenizers(start, place):
    status, _, err, _ = start(f'model.lm_head.{place}=9')
    assert status == 1 and f'lm_head.{place} is 9, but [' in one_line(err)


def test_a_tokenizer_that_writes_other_words(start, tmp_path):
    other = [*WORDS[:6], 'star', 'red', 'a']
    (tmp_path / 'other.txt').write_text('\n'.join(other))
    status, _, err, _ = start('model.tokenizer=other.txt')
    assert status == 1 and 'writes other word pieces than those' in one_line(err)


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    """The work dir of a training of one step, and what it printed."""
    work_dir = tmp_path_factory.mktemp('trained') / 'run'
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work_dir.parent)
        launch.train(
            [str(data / 'config.py'), '--work-dir', 'run', '--cfg-options',
             'train_cfg.val_begin=9']
        )  # fmt: skip
    return work_dir


def test_a_resumed_run_needs_all_weights(start, trained, tmp_path):
    content = torch.load(trained / 'iter_1.pth', weights_only=False)
    for name in [n for n in content['state_dict'] if n.startswith('text_encoder')]:
        del content['state_dict'][name]
    torch.save(content, tmp_path / 'some.pth')
    resume = ['--resume', 'some.pth']
    status, out, err, _ = start('train_cfg.max_iters=2', words=resume)
    assert status == 1 and not out and 'not in the checkpoint' in one_line(err)


def test_a_resumed_run_needs_the_same_groups(start, trained):
    resume = ['--resume', str(trained / 'iter_1.pth')]
    groups = 'optim_wrapper.paramwise_cfg.custom_keys.av_encoder.lr_mult=0.1'
    status, out, err, _ = start(groups, 'train_cfg.max_iters=2', words=resume)
    assert status == 1 and not out and 'different number of' in one_line(err)
    assert 'parameter groups' in err


def test_the_checkpoint_of_another_model(start, tmp_path):
    torch.save({'state_dict': {'fc.weight': torch.ones(2)}}, tmp_path / 'other.pth')
    status, _, err, _ = start(command=launch.test, words=['other.pth'])
    assert status == 1 and 'do not fit; 0 of 1 tensors' in one_line(err)


# --------------------------------------------------------------------------------------
# What is no error, and is said
# --------------------------------------------------------------------------------------
def test_batches_without_negatives_and_texts_that_are_cut(start):
    status, out, _, _ = start(
        'train_dataloader.batch_size=1',
        'train_dataloader.dataset.pipeline.TokenizeText.max_tokens=4',
        'train_cfg.val_begin=9',
    )
    assert status == 0
    assert 'batches of 1 clip: contrastive and matching losses have nothing' in out
    assert '6 of 18, 33 %, are cut at max_tokens=4' in out


def test_fewer_clips_than_a_batch_and_another_batch_than_before(start, trained):
    resume = ['--resume', str(trained / 'iter_1.pth')]
    options = ['train_dataloader.batch_size=8', 'train_cfg.val_begin=9']
    status, out, _, _ = start(*options, 'train_cfg.max_iters=2', words=resume)
    assert status == 0
    assert 'the data set has 6 clips and a batch 8' in out
    assert 'resumed with batches of 8 clips in 1 processes; the checkpoint was' in out
