"""A stored tokenizer is a BERT's, or it is not read."""

import json
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from coavt_mm.datasets.stored_tokenizer import checked_tokenizer
from coavt_mm.datasets.tokenizer import (
    build_tokenizer,
    serialise_tokenizer,
    store_tokenizer,
)
from coavt_mm.errors import CheckpointError


@pytest.fixture
def rules(vocabulary):
    return json.loads(serialise_tokenizer(str(vocabulary)))


def refused(text, message=''):
    text = text if isinstance(text, str) else json.dumps(text)
    with pytest.raises(CheckpointError, match=message) as caught:
        checked_tokenizer(text)
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 300


def test_ours_are_taken_as_they_are(rules, vocabulary):
    name = store_tokenizer(json.dumps(rules))
    for text in ('The dog barks, [SEP] É!', ''):
        ids = build_tokenizer(name)(text)['input_ids']
        assert ids == build_tokenizer(str(vocabulary))(text)['input_ids']


def test_those_of_hubs_are_taken(vocabulary, tmp_path):
    """bert-base-uncased and its like: a template, truncation and padding."""
    tokenizer = build_tokenizer.__wrapped__(str(vocabulary))
    rules = tokenizer.backend_tokenizer
    rules.post_processor = TemplateProcessing(
        single='[CLS]:0 $A:0 [SEP]:0',
        pair='[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1',
        special_tokens=[('[CLS]', 2), ('[SEP]', 3)],
    )
    rules.enable_truncation(5)
    rules.enable_padding(length=5)
    tokenizer.save_pretrained(str(tmp_path))
    assert 'TemplateProcessing' in Path(tmp_path / 'tokenizer.json').read_text()
    name = store_tokenizer((tmp_path / 'tokenizer.json').read_text())
    ids = build_tokenizer(name)('the dog barks the dog')['input_ids']
    assert ids == [2, 5, 6, 7, 5, 6, 3]


REPLACE = dict(type='Replace', pattern=dict(String='a'), content='a' * 10)


@pytest.mark.parametrize(
    ('part', 'value'),
    [
        ('normalizer', dict(type='Sequence', normalizers=[REPLACE] * 9)),
        ('normalizer', REPLACE),
        (
            'normalizer',
            dict(type='Replace', pattern=dict(Regex='(x+x+)+y'), content=''),
        ),
        ('normalizer', None),
        ('normalizer', dict(type='BertNormalizer')),
        ('normalizer', dict(type=['BertNormalizer'])),
        ('pre_tokenizer', dict(type='Split', pattern=dict(Regex='(x+x+)+y'))),
        ('pre_tokenizer', dict(type='BertPreTokenizer', more=1)),
        ('pre_tokenizer', []),
        ('decoder', dict(type='ByteLevel')),
        ('decoder', dict(type='WordPiece', prefix=5, cleanup=True)),
        ('model', dict(type='BPE', vocab={}, merges=[])),
        ('model', dict(type='WordPiece', vocab={})),
        ('post_processor', dict(type='BertProcessing', sep=['[SEP]', 99], cls=[])),
        ('post_processor', dict(type='ByteLevel')),
        ('post_processor', dict(type='Sequence', processors=[])),
        ('added_tokens', [5]),
        ('added_tokens', [dict(id=0, content='x')]),
        ('added_tokens', {}),
        ('version', 1),
        ('more', 1),
    ],
)
def test_other_parts_are_refused(rules, part, value):
    refused(dict(rules, **{part: value}))


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('unk_token', '[NONE]'),
        ('unk_token', 5),
        ('max_input_chars_per_word', 10**9),
        ('max_input_chars_per_word', -1),
        ('max_input_chars_per_word', True),
        ('continuing_subword_prefix', None),
        ('vocab', []),
        ('vocab', {'[UNK]': 0}),
    ],
)
def test_settings_of_the_model(rules, name, value):
    rules['model'][name] = value
    refused(rules)


@pytest.mark.parametrize('number', [10**9, -1, 3, 1.5, '7', None, True, [1]])
def test_ids_have_no_gaps(rules, number):
    rules['model']['vocab']['the'] = number
    refused(rules, 'are not 0 to')


@pytest.mark.parametrize(
    'change',
    [
        dict(content=''),
        dict(content='x' * 10**6),
        dict(id=10**6),
        dict(content='the'),
        dict(lstrip='yes'),
    ],
)
def test_added_tokens(rules, change):
    rules['added_tokens'][-1].update(change)
    refused(rules)


def test_a_template_that_repeats_a_text(rules):
    text = dict(Sequence=dict(id='A', type_id=0))
    rules['post_processor'] = dict(
        type='TemplateProcessing', single=[text] * 10**4, pair=[], special_tokens={}
    )
    refused(rules, 'post_processor')


@pytest.mark.parametrize(
    'text', ['', '5', 'null', '[]', '{}', '[' * 100_000, '"x"', 'a' * 1000, '{"a": 1}']
)
def test_other_texts(text):
    refused(text)


@pytest.mark.parametrize('text', [None, 5, b'{}', [1]])
def test_no_text(text):
    with pytest.raises(CheckpointError, match='no tokenizer in JSON'):
        checked_tokenizer(text)


@pytest.mark.parametrize('odd', ['"1n0"', '"2.0"', '"\\ud800"'])
def test_another_version(vocabulary, odd):
    text = serialise_tokenizer(str(vocabulary)).replace('"1.0"', odd, 1)
    with pytest.raises(CheckpointError):
        checked_tokenizer(text)
