"""Small good files of every kind that the package reads, and the doors they go through.

A door takes the bytes of a changed file. It may take it, or refuse it by a
``CoAVTError``; anything else that it raises is a finding, and so is ``Lost``.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from media_files import write_rows
from media_kinds import Lost, Original, feed_media, make_media, told
from model_kinds import (
    feed_checkpoint,
    feed_config,
    feed_features,
    feed_tokenizer,
    make_checkpoints,
    make_configs,
    make_features,
    make_tokenizers,
)
from mutators import CSV, JSON, JSON_LINES, TAR, ZIP
from tiny_parts import HOME, model, wav, write

Feed = Callable[[Original, bytes, Path, Random], str | None]


@dataclass(frozen=True)
class Kind:
    """Files of a kind.

    Args:
        make: Writes good ones into a folder.
        feed: Hands a changed one in, as a user does, in a folder for this case alone.
    """

    make: Callable[[Path], list[Original]]
    feed: Feed


# ---------------------------------------------------------------------- manifests
ROWS = [
    {'id': f'clip {i}', 'clip': f'{i}.wav', 'start': 0.1 * i, 'end': 0.5,
     'captions': [f'the dog {i}', 'bärks'], 'audio_captions': ['barks'],
     'labels': ['dog' if i % 2 else 'cat']}
    for i in range(4)
]  # fmt: skip
SIDECAR = {'protocol': 'small', 'missing': 1, 'classes': ['cat', 'dog'],
           'ceilings': {'AV': 1.0}, 'clips': 4, 'captions': 12,
           'source': 'nowhere'}  # fmt: skip


def make_manifests(place: Path) -> list[Original]:
    rows = ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in ROWS)
    files = {
        'rows.jsonl': (rows, JSON_LINES),
        'rows.meta.json': (json.dumps(SIDECAR, indent=1), JSON),
        'exclude.txt': ('clip 1\n# note\nclip 3\n', (*CSV, *CSV)),
        'classes.txt': ('cat\ndog\nbärks\n', (*CSV, *CSV)),
    }
    for name, (text, _) in files.items():
        (place / name).write_text(text, encoding='utf-8')
    for i in range(4):
        wav(place / f'{i}.wav')
    originals = [
        Original(name, text.encode(), mutators)
        for name, (text, mutators) in files.items()
    ]
    return [*originals[:1] * 4, *originals[1:2] * 2, *originals[2:]]


def _copy(source: Path, scratch: Path) -> None:
    for path in source.iterdir():
        if path.is_file() and not (scratch / path.name).exists():
            (scratch / path.name).symlink_to(path)


def feed_manifest(
    original: Original, content: bytes, scratch: Path, rng: Random
) -> None:
    from coavt_mm.datasets import AVTDataset
    from coavt_mm.errors import ClipError

    write(scratch, original.name, content)
    _copy(HOME[0] / 'manifest', scratch)
    options = dict(exclude='exclude.txt') if rng.random() < 0.5 else {}
    if original.name == 'classes.txt':
        options['classes'] = str(scratch / 'classes.txt')
    if original.name == 'exclude.txt':
        options['exclude'] = 'exclude.txt'
    options = {
        key: str(scratch / value) if key == 'exclude' else value
        for key, value in options.items()
    }
    with told() as said:
        data = AVTDataset(
            str(scratch / 'rows.jsonl'),
            str(scratch),
            pipeline=[dict(type='LoadAudio', seconds=0.5)],
            missing=rng.choice(('raise', 'skip')),
            test_mode=True,
            **options,
        )
    meta = data.metainfo
    kept = len(data) + len(meta['missing_ids']) + meta['excluded']
    lines = _lines(scratch / 'rows.jsonl')
    if kept != len(lines):
        raise Lost(f'{kept} of {len(lines)} rows')
    short = original.name == 'rows.jsonl' and len(lines) < len(ROWS)
    if short and not any('cut short' in line for line in said):
        raise Lost(f'{len(lines)} rows, and nothing said')
    texts = sum(len(row['captions']) for row in lines.values())
    if not options.get('exclude') and not meta['missing_ids']:
        there = sum(len(data.get_data_info(i)['captions']) for i in range(len(data)))
        if there != texts:
            raise Lost(f'{there} of {texts} captions')
    for index in range(min(len(data), 2)):
        with contextlib.suppress(ClipError):
            data[index]


def _lines(path: Path) -> dict[int, dict]:
    """Objects of a file of JSON lines, of which none may say a thing twice."""

    def pairs(found: list) -> dict:
        if len(dict(found)) < len(found):
            raise Lost('a key was there twice')
        return dict(found)

    text = path.read_bytes().decode('utf-8-sig')
    lines = [
        line for line in text.replace('\r', '\n').split('\n') if line.strip('\ufeff \t')
    ]
    rows = [json.loads(x.strip('\ufeff'), object_pairs_hook=pairs) for x in lines]
    return {
        i: {**row, 'captions': row.get('captions') or ()} for i, row in enumerate(rows)
    }


# ------------------------------------------------------------------------- tables
TABLE = (
    'clip,start,end,caption,label,split\n'
    'a.wav,0,0.4,"the dog, barks",dog,train\n'
    'a.wav,0.1,0.5,bärks,cat,train\n'
    'sub/b.wav,,,the dog,dog,test\n'
    'sub/c.wav,,,"says ""no""",cat,test\n'
)
LISTS = {
    'own.csv': TABLE,
    'vggsound.csv': '---g-f_I2yQ,1,people marching,test\n--0PQM4-hqg,30,"waterfall '
    'burbling",train\n',
    'audioset.csv': '# a\n# b\n# c\n--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"\n'
    '-0DdlOuIFUI, 50.000, 60.000, "/m/0130jx"\n',
    'audiocaps.csv': 'audiocap_id,youtube_id,start_time,caption\n1,rqfQ,30,"a dog, '
    'barks"\n2,rqfQ,30,it barks\n',
    'valor.json': json.dumps([
        {'video_id': 'x_10.0_20.0', 'desc': 'a dog'},
        {'video_id': 'y', 'desc': ['a cat', 'mews']},
    ]),
}  # fmt: skip


def make_tables(place: Path) -> list[Original]:
    import openpyxl

    for name in ('a.wav', 'sub/b.wav', 'sub/c.wav'):
        (place / name).parent.mkdir(exist_ok=True)
        wav(place / name)
    book = openpyxl.Workbook()
    for row in (['clip', 'caption'], ['a.wav', 'the dog'], ['sub/b.wav', 7]):
        book.active.append(row)
    book.save(place / 'own.xlsx')
    originals = [
        Original(name, text.encode(), JSON if name.endswith('json') else CSV)
        for name, text in LISTS.items()
    ]
    book = Original('own.xlsx', (place / 'own.xlsx').read_bytes(), ZIP)
    return [*originals[:1] * 4, *originals[1:], book]


def feed_table(original: Original, content: bytes, scratch: Path, rng: Random) -> None:
    from coavt_mm.preparation import (
        FolderIndex,
        prepare,
        read_audiocaps,
        read_audioset,
        read_folder_csv,
        read_valor,
        read_vggsound,
    )

    path = write(scratch, original.name, content)
    readers = {'vggsound': read_vggsound, 'audioset': read_audioset,
               'audiocaps': read_audiocaps, 'valor': read_valor}  # fmt: skip
    if path.stem in readers:
        readers[path.stem](path)
        return
    splits = read_folder_csv(path)
    texts = sum(len(c.captions) + len(c.labels) for s in splits.values() for c in s)
    home = HOME[0] / 'csv'
    report = prepare(
        splits, FolderIndex([str(home)]), scratch / 'out', dataset='own',
        min_seconds=0.1, workers=0,
    )  # fmt: skip
    before = {path.name for path in scratch.iterdir()}
    if before != {original.name, 'out'}:
        raise Lost(f'written outside of the folder: {before}')
    listed = sum(map(len, splits.values()))
    for split, part in report['splits'].items():
        unusable = ('missing', 'unreadable', 'too_short')
        gone = {c for p in unusable for c in part['problems'].get(p, ())}
        rows = (scratch / 'out' / f'{split}.jsonl').read_text('utf-8').splitlines()
        if part['written'] + len(gone) != len(splits[split]) or part['written'] != len(
            rows
        ):
            raise Lost(f'{part} of {listed} and {texts} texts')
    if original.name == 'own.csv' and rng.random() < 0.2:
        _check_rows(scratch / 'out', splits)


def _check_rows(out: Path, splits: dict) -> None:
    """What was written is a manifest that can be read again."""
    from coavt_mm.datasets.manifest import iter_manifest

    for split in splits:
        [*iter_manifest(out / f'{split}.jsonl')]


# ------------------------------------------------------------------------- shards
def make_shard_files(place: Path) -> list[Original]:
    from media_files import write_clip

    from coavt_mm.preparation.shards import Settings, make_shards

    clip = write_clip(place / 'clip.mp4', seconds=0.5, size=(32, 32))
    rows = [
        {'id': str(i), 'clip': str(clip), 'captions': [f'the dog {i}'], 'labels': ['a']}
        for i in range(4)
    ]
    write_rows(place / 'rows.jsonl', rows)
    made = place / 'made'
    make_shards(
        place / 'rows.jsonl', made, settings=Settings(short_side=32), per_shard=2
    )
    index = Original('index.jsonl', (made / 'index.jsonl').read_bytes(), JSON_LINES)
    tars = [Original(p.name, p.read_bytes(), TAR) for p in sorted(made.glob('*.tar'))]
    return [index, *tars]


def _agreeing(index: bytes, name: str, content: bytes) -> bytes:
    """An index whose author wrote the sums of a changed shard into it."""
    import hashlib
    import zlib

    lines = [json.loads(line) for line in index.splitlines()]
    for shard in lines[0]['shards']:
        if shard['name'] == name:
            digest = hashlib.sha256(content).hexdigest()
            shard.update(bytes=len(content), sha256=digest)
    number = [s['name'] for s in lines[0]['shards']].index(name)
    for line in lines[1:]:
        if line['shard'] == number:
            line['size'] = max(min(line['size'], len(content) - line['offset']), 0)
            begin = line['offset']
            line['crc32'] = zlib.crc32(content[begin : begin + line['size']])
    return b''.join(json.dumps(line).encode() + b'\n' for line in lines)


SHARD_PIPELINE = [
    dict(type='LoadFrames', num_frames=10, pick='all'),
    dict(type='LoadAudio', seconds=0.5),
]


def feed_shard(original: Original, content: bytes, scratch: Path, rng: Random) -> str:
    from coavt_mm.datasets import AVTShardDataset
    from coavt_mm.errors import ClipError

    write(scratch, original.name, content)
    made = HOME[0] / 'shards' / 'made'
    foe = original.name.endswith('.tar') and rng.random() < 0.5
    if foe:
        index = _agreeing((made / 'index.jsonl').read_bytes(), original.name, content)
        write(scratch, 'index.jsonl', index)
    _copy(made, scratch)
    cache_dir = str(scratch / 'cache') if rng.random() < 0.3 else None
    data = AVTShardDataset(
        str(scratch / 'index.jsonl'),
        pipeline=SHARD_PIPELINE,
        cache_dir=cache_dir,
        missing=rng.choice(('raise', 'skip')),
        test_mode=True,
    )
    missing = data.metainfo['missing']
    if original.name.endswith('.tar') and len(data) + missing != 4:
        raise Lost(f'{len(data)} samples, {missing} missing')
    read = 0
    for index in range(len(data)):
        with contextlib.suppress(ClipError):
            sample = data[index]
            read += 1
            whole = sample['has_audio'] and sample['has_visual']
            if not whole and original.name.endswith('.tar') and not foe:
                raise Lost(f'sample {index} has no sound or picture')
    return 'foe' if foe else 'index' if original.name == 'index.jsonl' else 'tar'


# ----------------------------------------------------------------------- journals
def make_journals(place: Path) -> list[Original]:
    for name in ('a.wav', 'b.wav', 'c.wav'):
        wav(place / name)
    (place / 'broken.wav').write_bytes(b'RIFF nothing')
    out = place / 'out'
    _prepare(place, out)
    facts = (out / 'all.jsonl').read_text('utf-8')
    content = (out / 'journal.jsonl').read_bytes()
    return [Original('journal.jsonl', content, JSON_LINES, facts)]


def _prepare(clips: Path, out: Path) -> None:
    from coavt_mm.preparation import FolderIndex, ListedClip, prepare

    index = FolderIndex([str(clips)])
    splits = dict(all=[ListedClip(name) for name in index.names()])
    prepare(splits, index, out, dataset='own', min_seconds=0.1, workers=0)


def feed_journal(
    original: Original, content: bytes, scratch: Path, rng: Random
) -> None:
    out = scratch / 'out'
    out.mkdir()
    write(out, 'journal.jsonl', content)
    _prepare(HOME[0] / 'journal', out)
    written = (out / 'all.jsonl').read_text('utf-8')
    before = [json.loads(line)['id'] for line in original.facts.splitlines()]
    after = [json.loads(line)['id'] for line in written.splitlines()]
    told = json.loads((out / 'report.json').read_text('utf-8'))['splits']['all']
    gone = {clip for ids in told['problems'].values() for clip in ids}
    if not set(before) <= {*after, *gone}:
        raise Lost(f'{before} became {after}, told are {gone}')


KINDS = {
    'media': Kind(make_media, feed_media),
    'manifest': Kind(make_manifests, feed_manifest),
    'csv': Kind(make_tables, feed_table),
    'shards': Kind(make_shard_files, feed_shard),
    'config': Kind(make_configs, feed_config),
    'checkpoint': Kind(make_checkpoints, feed_checkpoint),
    'journal': Kind(make_journals, feed_journal),
    'features': Kind(make_features, feed_features),
    'tokenizer': Kind(make_tokenizers, feed_tokenizer),
}


def make(kinds: list[str], home: Path) -> dict[str, list[Original]]:
    """Good files of some kinds, made in a folder."""
    HOME[:] = [home]
    # models and doors of several kinds need these
    order = ['manifest', *[kind for kind in kinds if kind != 'manifest']]
    made = {}
    for kind in order:
        (home / kind).mkdir()
        made[kind] = KINDS[kind].make(home / kind)
    model()
    return {kind: made[kind] for kind in kinds}
