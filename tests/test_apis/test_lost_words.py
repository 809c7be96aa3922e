"""What a text loses on its way to the model is said, with the text."""

import warnings

import pytest

from coavt_mm.apis import classify, embed, match, retrieve, visualize

UNKNOWN = 'the колокол Звонит'
WORDS = ['колокол', 'Звонит']


ASK = {
    'embed': lambda texts, clip, model: embed(text=texts, model=model)['texts'],
    'match': lambda texts, clip, model: match(clip, texts, model=model)[0]['texts'],
    'labels': lambda texts, clip, model: sorted(
        classify(clip, texts, model=model)[0]['labels'],
        key=lambda label: texts.index(label['label']),
    ),
    'hits': lambda texts, clip, model: sorted(
        retrieve(clip, texts, model=model)[0]['hits'], key=lambda hit: hit['index']
    ),
    'queries': lambda texts, clip, model: retrieve(texts, clip, model=model),
}
ask = pytest.mark.parametrize('ask', ASK.values(), ids=ASK)


@ask
def test_unknown_words_are_named(ask, coavt, short):
    with pytest.warns(UserWarning) as caught:
        found = ask(['the dog', UNKNOWN, 'колокол'], short, coavt)
    assert [part.get('unknown_words') for part in found] == [None, WORDS, ['колокол']]
    assert not any('cut_off' in part for part in found)
    (line,) = [str(w.message) for w in caught if 'tokenizer' in str(w.message)]
    assert f'"{UNKNOWN}": ' in line and '"колокол", "Звонит"' in line
    assert line.endswith('1 more texts likewise') and '\n' not in line


@ask
def test_a_text_that_is_cut_says_where(ask, coavt, short):
    text = 'the dog barks , ' * 4  # 10 of the 12 tokens are words
    with pytest.warns(UserWarning, match='too long, "barks , the dog barks , " is cut'):
        (found,) = ask([text], short, coavt)
    assert found['cut_off'] == 'barks , the dog barks , '
    assert 'unknown_words' not in found


@ask
def test_nothing_is_said_of_a_text_that_is_read(ask, coavt, short):
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        found = ask(['The  DOG barks .', 'dog'], short, coavt)
    assert not any({'unknown_words', 'cut_off'} & part.keys() for part in found)


def test_words_of_a_template_count(coavt, short):
    with pytest.warns(UserWarning, match='"Дом"'):
        found = classify(short, ['dog'], templates='the Дом {}', model=coavt)
    assert found[0]['labels'][0]['unknown_words'] == ['Дом']


def test_drawings_warn_too_and_classifiers_read_no_texts(
    coavt, classifier, short, tmp_path
):
    with pytest.warns(UserWarning, match='does not know "колокол"'):
        visualize(short, tmp_path, 'колокол', model=coavt)
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        classify(short, model=classifier)
        visualize(short, tmp_path, 'колокол', model=classifier)
