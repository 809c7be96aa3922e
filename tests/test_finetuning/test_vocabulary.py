"""Word pieces for own captions."""

import pytest

from coavt_mm.datasets.stored_tokenizer import checked_tokenizer
from coavt_mm.datasets.tokenizer import (
    build_rules,
    build_tokenizer,
    encode_text,
    serialise_tokenizer,
)
from coavt_mm.demo import grammar
from coavt_mm.finetuning.vocabulary import extend_pieces, train_pieces, unknown_words

FRENCH = ['Un chien aboie dans la forêt', 'Un chat dort dans la forêt', 'Un chien dort']


def test_pieces_of_captions_are_a_bert_vocabulary(tmp_path):
    name = train_pieces(FRENCH, tmp_path / 'pieces')
    tokenizer = build_tokenizer(name)
    assert tokenizer.pad_token_id == 0 and tokenizer.bos_token_id == 5
    ids = encode_text(build_rules(name), 'Un CHIEN dort', 12)
    words = ['[CLS]', 'un', 'chien', 'dort', '[SEP]']
    assert tokenizer.convert_ids_to_tokens(ids) == words
    assert not unknown_words(name, [*FRENCH, 'foret'])  # spelt out in letters
    checked_tokenizer(serialise_tokenizer(name))  # a checkpoint may carry it


@pytest.fixture(params=[True, False], ids=['with [DEC]', 'without [DEC]'])
def words_alone(tmp_path, request):
    """The demo's vocabulary: whole words, no letters to spell others with. [DEC] is
    among them, or is added behind them as to BERT's."""
    words = [w for w in grammar.vocabulary() if request.param or w != '[DEC]']
    path = tmp_path / 'vocab.txt'
    path.write_text('\n'.join(words) + '\n')
    return str(path)


def test_what_a_tokenizer_knows_stays_as_it_was(tmp_path, words_alone):
    old = words_alone
    known = ['a', 'red', 'star', 'moves']
    texts = [' '.join(known), *FRENCH, *FRENCH]
    unknown = unknown_words(old, texts)
    assert unknown['chien'] == 4 and not set(known) & set(unknown)
    name, new = extend_pieces(old, texts, tmp_path / 'more')
    before, after = build_tokenizer(old), build_tokenizer(name)
    assert new > 0 and len(after) == len(before) + new
    assert after.get_vocab().items() >= before.get_vocab().items()
    assert after.bos_token_id == before.bos_token_id
    assert {*build_rules(name).get_vocab().values()} == {*range(len(after))}
    text = ' '.join(known)
    assert after.tokenize(text) == before.tokenize(text)
    assert not unknown_words(name, texts)
    assert 'chien' in after.tokenize('un chien')
    checked_tokenizer(serialise_tokenizer(name))


def test_nothing_new_leaves_the_tokenizer(tmp_path, words_alone):
    texts = ['a red star moves', 'A bell sounds']
    assert extend_pieces(words_alone, texts, tmp_path / 'more') == (words_alone, 0)
    assert not (tmp_path / 'more').exists()


def test_a_folder_that_an_earlier_job_wrote_is_read_anew(tmp_path):
    folder = tmp_path / 'pieces'
    train_pieces(FRENCH, folder)
    build_rules(str(folder))
    name = train_pieces(['two other words', 'two other words'], folder)
    assert not unknown_words(name, ['two other words'])
    assert 'chien' not in build_tokenizer(name).get_vocab()


@pytest.mark.parametrize('text', ['犬が吠える', '☃ ☃', 'naïve Ünïcode'])
def test_any_script(tmp_path, words_alone, text):
    name, new = extend_pieces(words_alone, [text, text], tmp_path / 'more')
    assert new and not unknown_words(name, [text])
