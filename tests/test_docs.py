"""Every code block of README, docs and projects is run.

bash runs the shell blocks, in a folder laid out like the repository, with programs that
write down how they are called. Those calls are run in this process; the ones that take
long, or need data that is not here, are checked: the script takes the arguments, the
config it names loads and knows the options, the checkpoint it names is one that
training leaves. A script that is not listed in CHECKED is run, so a new block either
works here or is entered there with a reason.
"""

import ast
import importlib.util
import json
import re
import runpy
import shutil
import sys
from argparse import ArgumentParser
from pathlib import Path

import ancestors
import pytest
import timm
import torch
from documents import PAGES, PROJECT, ROOT, blocks_of, commands_of, write_stubs
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS, MODELS, TRANSFORMS, init_default_scope
from transformers import BertConfig, BertModel

from coavt_mm.cli import launch
from coavt_mm.cli.main import main as run_coavt
from coavt_mm.cli.main import make_parser
from coavt_mm.config import load_config
from coavt_mm.demo import Settings, make_sounding_shapes

CHECKED = {
    'tools/train.py': 'long; test_configs.py and test_projects take steps with each',
    'tools/test.py': 'needs a trained model; the same tests evaluate one',
    '.mim/tools/train.py': 'long; test_projects runs it on a few clips',
    '.mim/tools/test.py': 'needs a trained model; test_projects runs it',
    'tools/demo.py': 'long; test_engine/test_demo.py runs it on a few clips',
    'tools/data/make_sounding_shapes.py': 'long; a few clips are rendered below',
    'tools/data/prepare_vggsound.py': 'needs the lists; run by test_data_tools.py',
    'tools/data/prepare_audioset.py': 'needs the lists; run by test_data_tools.py',
    'tools/data/prepare_audiocaps.py': 'needs the lists; run by test_data_tools.py',
    'tools/data/prepare_valor.py': 'needs the lists; run by test_data_tools.py',
    'tools/data/prepare_folder.py': 'needs a folder; run by test_data_tools.py',
    'tools/data/make_protocol.py': 'needs the test sets; run by test_data_tools.py',
    'tools/data/check_leak.py': 'needs the lists; run by test_data_tools.py',
    'tools/data/audio_stats.py': 'needs VGGSound; test_datasets/test_statistics.py',
    'tools/data/inspect_manifest.py': 'needs VGGSound; test_visualization',
    'tools/analysis/benchmark_data.py': 'minutes; test_analysis/test_speed.py',
    'tools/analysis/benchmark.py': 'minutes; test_analysis/test_benchmark.py',
    'tools/analysis/benchmark_retrieval.py': 'minutes; test_retrieval_speed.py',
    'tools/analysis/model_stats.py': 'gigabytes; test_engine/test_statistics.py',
    'tools/analysis/ablate.py': 'hours; test_ablate.py',
    'tools/analysis/rescore.py': 'needs saved features; test_rescore.py',
    'tools/analysis/evaluate_mteb.py': 'needs a model; test_outside runs it',
    'tools/analysis/check_search.py': 'minutes; parts in test_analysis',
    'tools/analysis/check_sound.py': 'needs a trained model; test_sound_checks.py',
    'tools/analysis/collect_results.py': 'needs results; test_collecting.py',
    'tools/analysis/modality_confusion.py': 'needs three runs; test_evaluation',
    'tools/analysis/analyze_logs.py': 'needs runs; test_cli/test_inspecting.py',
    'tools/misc/publish_model.py': 'needs a run; test_cli/test_inspecting.py',
    'tools/converters/sentence_transformer.py': 'needs a model; test_outside runs it',
    'tools/infer.py': 'needs a trained model; run by test_apis/test_quickstart.py',
}
# blocks that another test runs, beside a checkpoint: these pages', and README's Python
RUN_BESIDE_A_CHECKPOINT = ('docs/peers.md', 'docs/quickstart.md', 'docs/tasks.md')
DEMO = 'work_dirs/demo/'  # what training it leaves
NEEDS_VGGSOUND = 'data/vggsound'
MODULES = ('pytest', 'ruff', 'codespell_lib', 'mypy')
NO_CODE = ('bibtex', 'mermaid', 'text')
BLOCKS = [block for page in PAGES for block in blocks_of(page)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """What a user has in front of him: the repository, a few clips, weights."""
    root = tmp_path_factory.mktemp('repository')
    for name in ('configs', 'projects'):
        shutil.copytree(ROOT / name, root / name)
    for name in (
        'tools',
        'tests',
        'docs',
        'Makefile',
        'requirements',
        'pyproject.toml',
    ):
        (root / name).symlink_to(ROOT / name)
    write_stubs(root / 'bin')
    clips = Settings(train_clips=4, test_clips=3, val_clips=3)
    make_sounding_shapes(root / 'data/sounding_shapes', clips, 1)
    torch.manual_seed(0)
    torch.save(ancestors.cavmae(), root / 'audio_model.25.pth')
    vit = timm.models.VisionTransformer(
        img_size=48, patch_size=16, embed_dim=24, depth=3, num_heads=12
    )
    torch.save(vit.state_dict(), root / 'mae_pretrain_vit_base.pth')
    torch.save(ancestors.blip2(dims=24), root / 'blip2_pretrained.pth')
    bert = BertConfig(hidden_size=12, num_hidden_layers=1, intermediate_size=16)
    BertModel(bert).save_pretrained(root / 'DIR')
    trained = root / 'work_dirs/pretrain_vggsound/iter_17871.pth'
    trained.parent.mkdir(parents=True)
    torch.save(dict(state_dict=ancestors.cavmae()), trained)
    log = dict(log_scalars=dict(loss=HistoryBuffer([1.0], [1])))
    torch.save(dict(state_dict={}, message_hub=log), root / 'old.pth')
    # any config: here one that reads shards
    (root / 'CONFIG').write_text(
        "_base_ = ['configs/_base_/datasets/vggsound_shards.py',"
        "'configs/_base_/default_runtime.py']"
    )
    return root


@pytest.fixture(scope='module')
def done():
    """Names of the blocks that have been run."""
    return set()


@pytest.fixture
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)
    yield folder
    init_default_scope('coavt_mm')


# --------------------------------------------------------------------------------------
# Commands
# --------------------------------------------------------------------------------------
class Understood(Exception):
    """Raised in place of going on, once a script has taken its arguments."""


def run_script(path, arguments, monkeypatch, only_arguments=False):
    """Run a script in this process; with `only_arguments` up to its parser."""
    parse = ArgumentParser.parse_args
    taken = []

    def parse_args(self, *args, **kwargs):
        taken.append(parse(self, *args, **kwargs))
        if only_arguments:
            raise Understood
        return taken[-1]

    monkeypatch.setattr(sys, 'argv', [str(path), *arguments])
    monkeypatch.setattr(ArgumentParser, 'parse_args', parse_args)
    try:
        runpy.run_path(str(path), run_name='__main__')
    except Understood:
        pass
    except SystemExit as ended:
        assert not ended.code, f'{path} ended with {ended.code}'
    finally:
        monkeypatch.setattr(ArgumentParser, 'parse_args', parse)
    return taken[0]


def check_config(args):
    """The config of tools/train.py or test.py loads, and knows the options."""
    config = Path(args.config)
    if config.name == 'CONFIG':
        config = shutil.copy(config, 'CONFIG.py')
    load_config(str(config), args.cfg_options)
    if hasattr(args, 'checkpoint'):
        check_checkpoint(args.checkpoint)


def check_checkpoint(path):
    """`work_dirs/<config>/iter_<n>.pth`: training with that config ends there."""
    found = re.fullmatch(r'work_dirs/(\w+)/(iter|epoch)_(\d+)\.pth', path)
    if found is None:
        return
    (config,) = [p for name in ('configs', 'projects')
                 for p in Path(name).rglob(f'{found[1]}.py')]  # fmt: skip
    train_cfg = Config.fromfile(config).train_cfg
    length = train_cfg['max_iters' if found[2] == 'iter' else 'max_epochs']
    assert int(found[3]) == length, f'{config} ends at {length}, not at {path}'


def check_python(words, monkeypatch):
    """`python ...`, without `python`."""
    if words[:2] == ['-m', 'torch.distributed.run']:
        words = words[next(i for i, x in enumerate(words) if x.endswith('.py')) :]
    elif words[0] == '-m':
        assert words[1] in MODULES and importlib.util.find_spec(words[1])
        return
    words = [word for word in words if word != '-u']
    path, arguments = Path(words[0]), words[1:]
    assert path.is_file(), f'there is no {path}'
    known = [name for name in CHECKED if str(path).endswith(name)]
    absent = any(word.startswith(NEEDS_VGGSOUND) for word in arguments)
    args = run_script(path, arguments, monkeypatch, bool(known) or absent)
    if path.name in ('train.py', 'test.py'):
        check_config(args)
    elif path.name == 'demo.py' and args.cfg_options:
        options = ('--cfg-options', *args.cfg_options)
        check_config(launch.train.parse(['configs/coavt/pretrain_demo.py', *options]))


def check_coavt(words):
    """`coavt ...`, without `coavt`: read, and run where that takes no time."""
    try:
        args = make_parser().parse_args(words)
    except SystemExit as ended:
        assert not ended.code, f'coavt {words} ended with {ended.code}'
        return
    chosen, _ = args.chosen
    if chosen in (launch.train, launch.test):
        check_config(args)
    elif words[0] == 'convert':
        run_coavt(words)


def check_pip(words):
    """`pip install`: the extras and the files that it names exist; `pip download` would
    ask the network, `pip uninstall` would do it."""
    assert words[0] in ('install', 'uninstall', 'download')
    for extra in re.findall(r'\[([\w,]+)\]', ' '.join(words)):
        for name in extra.split(','):
            assert name in PROJECT['optional-dependencies'], f'no extra {name}'
    for option, value in zip(words, words[1:], strict=False):
        assert option != '-c' or Path(value).is_file()


def check_command(words, monkeypatch):
    program, *rest = words
    if program == 'srun':  # runs what follows its options, on each node
        program, *rest = rest[rest.index('python') :]
    if program == 'torchrun':  # -m coavt_mm, behind options of its own
        program, rest = 'coavt', rest[rest.index('coavt_mm') + 1 :]
    if program == 'python':
        check_python(rest, monkeypatch)
    elif program == 'coavt':
        check_coavt(rest)
    elif program == 'pip':
        check_pip(rest)
    else:  # tar unpacks what pip would have downloaded
        assert program in ('tar', 'lint-imports', 'pre-commit', 'git')


# --------------------------------------------------------------------------------------
# Python
# --------------------------------------------------------------------------------------
SCOPES = {'mmpretrain_coavt': 'mmpretrain', 'mmaction2_coavt': 'mmaction'}


def check_config_block(block):
    """A config, or a part of one: what it names is built."""
    path = Path(f'configs/coavt/block_{block.line}.py')
    path.write_text(block.text)
    cfg = Config.fromfile(path)
    theirs = 'coavt_mm.' in block.text and SCOPES.get(block.page.parent.name)
    init_default_scope(theirs or 'coavt_mm')
    with torch.device('meta'):
        if 'backbone' in cfg:
            MODELS.build(cfg.backbone)
        if 'model' in cfg and 'type' in cfg.model:
            MODELS.build(cfg.model)
        elif 'model' in cfg:  # changes of a model
            whole = Config.fromfile('configs/coavt/pretrain_vggsound.py')
            whole.merge_from_dict(dict(model=cfg.model))
            MODELS.build(whole.model)
    for hook in cfg.get('custom_hooks', []):
        HOOKS.build(hook)
    for transform in cfg.get('pipeline', []):
        TRANSFORMS.build(transform)


def check_python_block(block):
    statements = ast.parse(block.text).body
    if all(isinstance(statement, ast.Assign) for statement in statements):
        check_config_block(block)
    else:
        exec(compile(block.text, str(block), 'exec'), {'__name__': '__main__'})


def needs_checkpoint(block):
    if str(block.page.relative_to(ROOT)) in RUN_BESIDE_A_CHECKPOINT:
        return True
    return block.language == 'python' and DEMO in block.text


def run_block(block, inside, monkeypatch):
    if needs_checkpoint(block):
        runs = (
            'test_apis/test_quickstart.py',
            'test_peers/test_page_of_peers.py',
            'test_search/test_page.py',
            'test_outside/test_evaluation_page.py',
            'test_export/test_export.py',
        )
        text = ''.join((ROOT / 'tests' / path).read_text() for path in runs)
        assert block.page.name in text
    elif block.language in ('shell', 'bash'):
        for words, path in commands_of(block, inside):
            for entry in filter(None, path.split(':')):
                monkeypatch.syspath_prepend(str(inside / entry))
            check_command(words, monkeypatch)
    elif block.language == 'python':
        check_python_block(block)
    elif block.language == 'json':
        for line in block.text.splitlines():
            json.loads(line)
    else:
        assert block.language in NO_CODE, (
            f'{block}: say what the block is: shell, python, json, {", ".join(NO_CODE)}'
        )


def _marked(block):
    """Those that load all models of another package take seconds."""
    marks = [pytest.mark.slow] if block.page.parent.name in SCOPES else []
    return pytest.param(block, marks=marks)


@pytest.mark.parametrize('block', [_marked(block) for block in BLOCKS], ids=str)
def test_block(block, inside, done, monkeypatch):
    """Behind the blocks above it on its page, in whatever order the tests run."""
    for upper in blocks_of(block.page):
        if upper.line <= block.line and str(upper) not in done:
            run_block(upper, inside, monkeypatch)
            done.add(str(upper))


# --------------------------------------------------------------------------------------
# The checks themselves
# --------------------------------------------------------------------------------------
WRONG = {
    'python tools/train.py configs/coavt/no_such.py': 'no such config',
    'python tools/train.py configs/coavt/pretrain_demo.py --cfg-options a.b=1': 'a.b',
    'python tools/train.py configs/coavt/pretrain_demo.py --sed 1': 'ended with 2',
    'python tools/no_such.py x': 'there is no tools/no_such.py',
    'python tools/test.py configs/coavt/retrieval_demo.py '
    'work_dirs/pretrain_demo/iter_7.pth': 'ends at',
    'bash tools/dist_train.sh configs/coavt/no_such.py 8': 'no such config',
    'make no_such_target': 'no_such_target',
    'make demo ARGS="--cfg-options model.contrastive_head.stream.A=0"': 'streams',
    'python tools/converters/cavmae.py DIR/model.safetensors x.pth': 'ended with 1',
    'pip install -e ".[no_such]"': 'no extra no_such',
    'no_such_program x': 'no_such_program',
    'coavt trainn x.py': 'ended with 2',
    'coavt train coavt_mm::coavt/no_such.py': 'no such config',
    'coavt convert cavmae DIR/model.safetensors x.pth': '1',
    'torchrun -m coavt_mm train coavt_mm::coavt/no_such.py': 'no such config',
    'x = 1; echo "': 'bash says',
}


@pytest.mark.parametrize(('command', 'message'), WRONG.items())
def test_a_wrong_command_is_found(command, message, inside, monkeypatch, capsys):
    block = next(b for b in BLOCKS if b.language == 'shell')
    block = type(block)(block.page, 1, 'shell', command)
    with pytest.raises((Exception, SystemExit), match=message):
        for words, _ in commands_of(block, inside):
            check_command(words, monkeypatch)


def test_every_entry_is_of_a_script():
    for name in CHECKED:
        assert name.startswith('.mim') or (ROOT / name).is_file()
