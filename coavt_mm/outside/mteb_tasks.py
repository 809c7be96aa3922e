"""The demo's clips as tasks of MTEB: numbers that anybody gets without a download."""

from pathlib import Path
from typing import Any

from datasets import Audio, Dataset, Video
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata

from coavt_mm.datasets.manifest import find_manifest, iter_manifest, read_sidecar
from coavt_mm.demo.grammar import VISUAL_FACTORS
from coavt_mm.streams import CAPTION_FIELDS, STREAMS

HOW_TO_GET = 'make them with `coavt prepare sounding-shapes FOLDER`'
MODALITIES = dict(t='text', v='video', a='audio')
SIDES = dict(AV='va', A='a', V='v')  # a stream in mteb's letters


class SoundingShapes(AbsTaskRetrieval):
    """Retrieval among the test clips of the demo.

    Right is whatever is the same by the factors that both sides show: for a sound all
    clips with its timbre, contour and count, for a full caption those with its picture,
    too.

    Args:
        folder: Of the demo's data.
        category: What asks and what is asked for, in mteb's letters, such as 't2va'.
        bound: Whether sounds and pictures determine each other.
        **kwargs: mteb's.

    Raises:
        DatasetMissingError: There are no such clips.
        ManifestError: Their manifest is wrong.
    """

    metadata = TaskMetadata(
        name='SoundingShapesRetrieval',
        description='Rendered clips: a shape moves while an instrument sounds.',
        type='Any2AnyRetrieval',
        dataset=dict(path='sounding-shapes', revision='1'),
        modalities=['text', 'video', 'audio'],
        category='t2va',
        eval_splits=['test'],
        eval_langs=['eng-Latn'],
        main_score='ndcg_at_10',
        license='apache-2.0',
        annotations_creators='algorithmic',
        sample_creation='created',
    )

    def __init__(self, folder: str | Path, category: str, **kwargs: Any):
        query, corpus = category.split('2')
        self.folder, self.sides = Path(folder), (query, corpus)
        self.stream = _stream(query + corpus)
        partial = 't' in self.sides and self.stream != 'AV'
        name = 'test_partial.jsonl' if partial else 'test.jsonl'
        self.manifest = find_manifest(self.folder / name, HOW_TO_GET)
        named = f'{query}2{corpus}'.upper()
        self.metadata = self.metadata.model_copy(
            update=dict(
                name=f'SoundingShapes{named}Retrieval',
                category=category,
                modalities=[MODALITIES[x] for x in 'tva' if x in query + corpus],
                dataset=dict(
                    path='sounding-shapes',
                    revision=read_sidecar(self.manifest)['protocol'],
                ),
            )
        )
        super().__init__(**kwargs)

    def load_data(self, *args: Any, **kwargs: Any) -> None:
        """Read the manifest.

        Args:
            *args: Not needed.
            **kwargs: Not needed.
        """
        rows = list(iter_manifest(self.manifest, self.folder))
        keys = [self._shown(row) for row in rows]
        right = {
            f'q{i}': {f'd{j}': 1 for j, other in enumerate(keys) if key == other}
            for i, key in enumerate(keys)
        }
        queries, corpus = (
            self._side(rows, side, name)
            for side, name in zip(self.sides, 'qd', strict=True)
        )
        split = RetrievalSplitData(
            queries=queries, corpus=corpus, relevant_docs=right, top_ranked=None
        )
        self.dataset = dict(default=dict(test=split))
        self.data_loaded = True

    def _shown(self, row: dict) -> tuple[str, ...]:
        """The factors of a clip that both sides of the task show."""
        labels, pictured = row['labels'], len(VISUAL_FACTORS)
        if 't' not in self.sides:  # bound clips: the sound says what the picture is
            return tuple(labels[pictured:])
        return tuple(
            dict(AV=labels, A=labels[pictured:], V=labels[:pictured])[self.stream]
        )

    def _side(self, rows: list[dict], side: str, name: str) -> Dataset:
        columns: dict[str, list] = dict(id=[f'{name}{i}' for i in range(len(rows))])
        if side == 't':
            field = {v: k for k, v in CAPTION_FIELDS.items()}[self.stream]
            columns['text'] = [row[field][0] for row in rows]
            return Dataset.from_dict(columns)
        files = [str(row['clip_path']) for row in rows]
        columns.update({MODALITIES[letter]: files for letter in side})
        dataset = Dataset.from_dict(columns)
        for column, kind in (('video', Video()), ('audio', Audio())):
            if column in columns:
                dataset = dataset.cast_column(column, kind)
        return dataset


def _stream(letters: str) -> str:
    """The stream that the letters of a task's media make up."""
    return next(s for s in STREAMS if set(SIDES[s]) == set(letters) - {'t'})


def sounding_shapes_tasks(folder: str | Path) -> list[SoundingShapes]:
    """Make the tasks of a folder of demo clips: captions and clips, by stream, in both
    directions, and of bound clips sound and picture.

    Args:
        folder: From ``coavt prepare sounding-shapes``.

    Raises:
        DatasetMissingError: There are no such clips.
        ManifestError: Their manifest is wrong.
    """
    protocol = read_sidecar(find_manifest(Path(folder) / 'test.jsonl', HOW_TO_GET))
    pairs = [('t', side) for side in SIDES.values()]
    if 'bound' in protocol.get('protocol', ''):
        pairs.append(('a', 'v'))
    return [
        SoundingShapes(folder, f'{one}2{two}')
        for pair in pairs
        for one, two in (pair, pair[::-1])
    ]
