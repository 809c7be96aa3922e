import json
import ssl
from urllib.error import HTTPError, URLError

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoTokenizer

from coavt_mm.datasets import hub as hub_of_tokenizers
from coavt_mm.datasets.tokenizer import (
    build_rules,
    build_tokenizer,
    serialise_tokenizer,
    store_tokenizer,
)
from coavt_mm.errors import DatasetMissingError


def test_vocabulary_file(vocabulary):
    tokenizer = build_tokenizer(str(vocabulary))
    pieces = vocabulary.read_text().split()
    assert len(tokenizer) == len(pieces) + 1
    assert tokenizer.bos_token == '[DEC]' and tokenizer.bos_token_id == len(pieces)
    assert tokenizer.pad_token_id == 0
    ids = tokenizer('The dog barks!')['input_ids']
    assert tokenizer.convert_ids_to_tokens(ids) == [
        '[CLS]', 'the', 'dog', 'barks', '[UNK]', '[SEP]',
    ]  # fmt: skip
    text = tokenizer.decode([tokenizer.bos_token_id, *ids], skip_special_tokens=True)
    assert text == 'the dog barks'


def test_ids_stay_when_the_vocabulary_has_the_token(tmp_path, vocabulary):
    pieces = vocabulary.read_text().split()
    path = tmp_path / 'words.txt'
    path.write_text('\n'.join(['[DEC]', *pieces]))
    tokenizer = build_tokenizer(str(path))
    assert len(tokenizer) == len(pieces) + 1 and tokenizer.bos_token_id == 0


def test_directories(tmp_path, vocabulary):
    (tmp_path / 'vocab.txt').write_text(vocabulary.read_text())
    from_file = build_tokenizer(str(vocabulary))
    from_folder = build_tokenizer(str(tmp_path))
    from_folder.save_pretrained(str(tmp_path / 'saved'))
    from_saved = build_tokenizer(str(tmp_path / 'saved'))
    for tokenizer in (from_folder, from_saved):
        assert len(tokenizer) == len(from_file)
        assert tokenizer.bos_token_id == from_file.bos_token_id
        text = 'A dog, a Cat.'
        assert tokenizer(text)['input_ids'] == from_file(text)['input_ids']


def test_the_rules_are_those_of_transformers(tmp_path, vocabulary):
    build_tokenizer(str(vocabulary)).save_pretrained(str(tmp_path))
    stored = store_tokenizer(serialise_tokenizer(str(vocabulary)))
    for name in (str(vocabulary), str(tmp_path), stored):
        theirs, rules = build_tokenizer(name), build_rules(name)
        assert rules.to_str() == theirs.backend_tokenizer.to_str()
        ids = theirs('The dog, a cat [SEP] barks.', padding='max_length', max_length=12)
        rows = [[theirs.bos_token_id, *ids['input_ids']], []]
        texts = theirs.batch_decode(rows, skip_special_tokens=True)
        assert rules.decode_batch(rows) == texts


def test_one_per_process(vocabulary):
    assert build_tokenizer(str(vocabulary)) is build_tokenizer(str(vocabulary))


@pytest.mark.parametrize('name', ['/no/such/folder', 'no/such/folder', 'no_vocab.txt'])
def test_missing(name):
    with pytest.raises(DatasetMissingError, match=name):
        build_tokenizer(name)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that nobody may ask, with an empty cache."""

    def ask(name, **_):
        if name != str(tmp_path / 'cached'):
            raise AssertionError(f'{name} was looked for')
        return load(name, **_)

    load = AutoTokenizer.from_pretrained
    monkeypatch.setattr(AutoTokenizer, 'from_pretrained', ask)
    monkeypatch.setattr(hub_of_tokenizers, 'snapshot_download', missing)
    return tmp_path / 'cached'


def missing(name, local_files_only):
    assert local_files_only
    raise LocalEntryNotFoundError('not there')


@pytest.mark.parametrize('offline', [True, False])
def test_a_hub_that_can_not_be_reached_is_asked_once(monkeypatch, hub, offline):
    asked = []

    def no_network(request, timeout):
        asked.append(request.full_url)
        assert 0 < timeout < 10
        raise URLError(OSError('no route'))

    monkeypatch.setattr(hub_of_tokenizers, 'urlopen', no_network)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', offline)
    with pytest.raises(DatasetMissingError, match='bert-x: .*--cfg-options tokenizer='):
        build_tokenizer('bert-x')
    assert asked == ([] if offline else [constants.ENDPOINT])


@pytest.mark.parametrize(
    'answer', [HTTPError('url', 405, 'no', {}, None), URLError(ssl.SSLError('cert'))]
)
def test_a_hub_that_answers_is_left_to_its_library(monkeypatch, hub, answer):
    def answers(*_, **__):
        raise answer

    def from_hub(name, **_):
        raise OSError('bert-y is no model\nof the hub')

    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(hub_of_tokenizers, 'urlopen', answers)
    monkeypatch.setattr(AutoTokenizer, 'from_pretrained', from_hub)
    with pytest.raises(DatasetMissingError, match='bert-y: bert-y is no model$'):
        build_tokenizer('bert-y')


def test_the_cache_comes_first(monkeypatch, hub, vocabulary):
    build_tokenizer(str(vocabulary)).save_pretrained(str(hub))
    monkeypatch.setattr(
        hub_of_tokenizers, 'snapshot_download', lambda *_, **__: str(hub)
    )
    monkeypatch.setattr(hub_of_tokenizers, 'urlopen', missing)
    assert (
        build_tokenizer('bert-z')('dog')['input_ids']
        == (build_tokenizer(str(vocabulary))('dog')['input_ids'])
    )


def test_another_text_file_is_no_vocabulary(tmp_path):
    (tmp_path / 'v.txt').write_text('hello\n')
    with pytest.raises(DatasetMissingError, match='lacks'):
        build_tokenizer(str(tmp_path / 'v.txt'))


def test_no_code_of_a_tokenizer_is_run_and_nobody_is_asked(tmp_path, monkeypatch):
    settings = dict(auto_map=dict(AutoTokenizer=['own.Own', 'own.Own']))
    (tmp_path / 'tokenizer_config.json').write_text(json.dumps(settings))
    (tmp_path / 'own.py').write_text(f"open({str(tmp_path / 'MARK')!r}, 'w')")
    monkeypatch.setattr('builtins.input', lambda *_: 'y')
    with pytest.raises(DatasetMissingError, match='tokenizer .*'):
        build_tokenizer(str(tmp_path))
    assert not (tmp_path / 'MARK').exists()


def test_a_piece_that_is_there_twice(tmp_path, vocabulary):
    twice = tmp_path / 'vocab.txt'
    twice.write_text(vocabulary.read_text() + 'dog\n')
    lines = len(twice.read_text().splitlines())
    with pytest.raises(DatasetMissingError, match=rf'vocab.txt:{lines}: .*dog.*line 7'):
        build_rules(str(twice))


def test_lines_end_where_the_library_ends_them(tmp_path, vocabulary):
    odd = tmp_path / 'vocab.txt'
    odd.write_text(vocabulary.read_text().replace('\n', '\u2028', 3), encoding='utf-8')
    with pytest.raises(DatasetMissingError, match='no BERT vocabulary'):
        build_rules(str(odd))
    odd.write_bytes(vocabulary.read_bytes().replace(b'\n', b'\r\n'))
    assert build_rules(str(odd)).to_str() == build_rules(str(vocabulary)).to_str()
