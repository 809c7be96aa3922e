"""Zero-shot by the API and by the metric: the same numbers, the same refusals."""

import numpy as np
import pytest
import tiny_apis
import torch
from media_files import write_rows

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.datasets import AVTDataset
from coavt_mm.datasets.transforms import AllCaptions, PickCaption
from coavt_mm.errors import CoAVTError, ConfigError, InputError
from coavt_mm.evaluation import ZeroShotMetric

STRANGE = ['dog', 'a {} b', '{0}', '{dog', '100 % the', '%s barks', 'c } d', 'DOG {x}']
TIED = ['dog', 'Dog', 'the', 'DOG', 'a']  # the vocabulary knows small letters only
CASES = {
    'one template': (['the {} barks'], ['dog', 'cat', 'a b']),
    'several': (['{}', 'the {}', '{} barks , barks', 'a % b {} .'], ['dog', 'b', 'c']),
    'strange names': (['the {}', '{} .'], STRANGE),
    'ties': (['the {}', '{} barks'], TIED),
}
cases = pytest.mark.parametrize(('templates', 'names'), CASES.values(), ids=CASES)
# none, two, a name, a number, braces beside the place
BAD = ['the dog', 'the {} {}', 'the {name}', 'the {0}', '{{}} {}', '{} }', '{ {}']


@pytest.fixture(scope='module')
def model(tmp_path_factory, vocabulary):
    """Texts far apart, several frames per clip."""
    cfg = tiny_apis.coavt_cfg(vocabulary, pick='all')
    cfg.model.text_encoder.init = 'wide'
    path = tmp_path_factory.mktemp('zeroshot') / 'coavt.pth'
    tiny_apis.save(cfg, path)
    return CoAVTInferencer(weights=path, device='cpu', show_progress=False)


@pytest.fixture(scope='module')
def clips(make_clip):
    return [
        str(make_clip(seconds=0.5)),
        str(make_clip(seconds=0.5, sound=False, frequency=700.0)),
        str(make_clip(seconds=0.5, picture=False)),
    ]


def metric_scores(model, vocabulary, clips, names, **options):
    """What the metric keeps of each clip: stream -> label set -> scores."""
    rows = [
        {'id': str(i), 'clip': clip, 'captions': ['a'], 'labels': [names[0]]}
        for i, clip in enumerate(clips)
    ]
    manifest = write_rows(f'{clips[0]}.{abs(hash(tuple(names)))}.jsonl', rows)
    dataset = AVTDataset(
        str(manifest),
        pipeline=tiny_apis.pipeline(vocabulary, pick='all'),
        test_mode=True,
        classes=names,
    )
    with torch.no_grad():
        samples = model.model.test_step(model.collate_fn([*dataset]))
    metric = ZeroShotMetric(max_tokens=12, **options)
    metric.dataset_meta, metric.model = dataset.metainfo, model.model
    metric.process(None, [sample.to_dict() for sample in samples])
    return [record['scores'] for record in metric.results]


def api_scores(model, clips, names, templates):
    """(clips, labels) in the order of the names, and the labels best first."""
    found = model.classify(clips, names, templates=templates, topk=len(names))
    best = [[label['label'] for label in clip['labels']] for clip in found]
    by_name = [
        {label['label']: label['score'] for label in clip['labels']} for clip in found
    ]
    return np.array([[scores[name] for name in names] for scores in by_name]), best


@cases
@pytest.mark.parametrize('temperature', [0.07, 1e-9])  # the second is below the floor
def test_equal_numbers(
    model, vocabulary, clips, templates, names, temperature, monkeypatch
):
    head = model.model.contrastive_head
    monkeypatch.setattr(head.temperature, 'data', torch.tensor(temperature))
    found, best = api_scores(model, clips, names, templates)
    of_metric = metric_scores(model, vocabulary, clips, names, templates=templates)
    for clip, scores, order, stream in zip(
        found, of_metric, best, ('AV', 'V', 'A'), strict=True
    ):
        cosines = scores[stream]['all'].astype(np.float64)
        shares = np.exp((cosines - cosines.max()) / max(temperature, 1e-3))
        np.testing.assert_allclose(clip, shares / shares.sum(), rtol=2e-3, atol=1e-6)
        assert abs(cosines[names.index(order[0])] - cosines.max()) < 1e-6


@pytest.mark.parametrize('temperature', [0.07, 1e-9])
def test_equal_probabilities_of_one_joint_sentence(
    model, vocabulary, clips, temperature, monkeypatch
):
    head = model.model.contrastive_head
    monkeypatch.setattr(head.temperature, 'data', torch.tensor(temperature))
    found, _ = api_scores(model, clips, STRANGE, 'the {} barks')
    of_metric = metric_scores(
        model, vocabulary, clips, STRANGE,
        templates='the {all} barks', label_sets=dict(all=STRANGE),
    )  # fmt: skip
    for clip, scores, stream in zip(found, of_metric, ('AV', 'V', 'A'), strict=True):
        shares = np.exp(scores[stream]['all'])
        np.testing.assert_allclose(clip, shares, rtol=2e-3, atol=1e-6)


def test_equal_names_stay_in_the_order_given_and_share(model, vocabulary, clips):
    (one, *_), best = api_scores(model, clips, TIED, ['the {}', '{} barks'])
    assert one[0] == pytest.approx(one[1]) == pytest.approx(one[3])
    for order in best:
        assert [x for x in order if x.lower() == 'dog'] == ['dog', 'Dog', 'DOG']


@pytest.mark.parametrize('template', BAD)
def test_one_rule_for_templates(model, clips, template):
    with pytest.raises(InputError, match='the template .*(place|braces)') as of_api:
        model.classify(clips[0], 'dog', templates=['the {}', template])
    for build in (
        lambda: ZeroShotMetric(['the {}', template]),
        lambda: ZeroShotMetric({'all': [template]}),
        lambda: AllCaptions(templates=[template]),
        lambda: PickCaption(templates=[template]),
    ):
        with pytest.raises(ConfigError) as caught:
            build()
        assert str(caught.value) == str(of_api.value)


@pytest.mark.parametrize('templates', ['the {}', []])
def test_templates_of_the_metric_are_a_list(templates):
    with pytest.raises(CoAVTError, match='template'):
        ZeroShotMetric({'all': templates})


@pytest.mark.parametrize(
    'template', ['a {x', 'a x}', 'a {x} {}', 'a {{x}}', 'a {x!r}', 'a {x:>9}', '{x.y}']
)
def test_a_joint_template_has_named_places_only(template):
    with pytest.raises(ConfigError, match='one place for each label set: {x}'):
        ZeroShotMetric(template, label_sets=dict(x=['dog']))
