"""From a manifest to shards: the work of a process, and how it is spread.

Letters: F frames, S audio samples.
"""

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from coavt_mm.datasets.decoding import READING, backend_order, read_audio
from coavt_mm.datasets.manifest import (
    TEXT_KEYS,
    content_hash,
    find_manifest,
    iter_manifest,
    read_sidecar,
)
from coavt_mm.datasets.shards.archive import (
    END_OF_TAR,
    pack_sample,
    shrink,
)
from coavt_mm.datasets.shards.index import INDEX_NAME, VERSION, read_index, sha256
from coavt_mm.datasets.transforms.video import LoadFrames
from coavt_mm.errors import ClipError, ConfigError, ManifestError
from coavt_mm.preparation.on_ray import joined, run_on_ray, some_files
from coavt_mm.preparation.processes import Died, run_each
from coavt_mm.preparation.settings import Settings

Spread = Callable[..., Generator[tuple[Any, Any], None, None]]  # as run_each, or on Ray


@dataclass(frozen=True)
class Job:
    """One shard: what goes in and where it lies.

    ``killers`` are the ids of clips over which a process died, and how.
    """

    number: int
    rows: Sequence[dict]
    first_key: int
    data_root: str
    out_dir: str
    settings: Settings
    killers: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The archive."""
        return Path(self.out_dir) / f'shard-{self.number:06d}.tar'

    @property
    def report_path(self) -> Path:
        """Says, once it exists, that the shard is whole."""
        return self.path.with_suffix('.json')

    @property
    def fingerprint(self) -> str:
        """Change when the shard would."""
        parts = [self.rows, self.first_key, asdict(self.settings), READING]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def packed(self, row: dict, key: str) -> tuple[bytes, dict]:
        """See ``pack_clip``."""
        if row['sample_id'] in self.killers:
            how = self.killers[row['sample_id']]
            raise ClipError(f'the process that read it died ({how})')
        try:
            return pack_clip(row, key, self.data_root, self.settings)
        except MemoryError:
            raise ClipError('out of memory') from None


def manifest_row(row: dict) -> dict:
    """The row of a manifest that gives this row, see ``parse_row``."""
    audio = row['audio_path'] if row['audio_path'] != row['clip_path'] else None
    result = dict(id=row['sample_id'], clip=row['clip_path'], audio=audio,
                  start=row['start'], end=row['end'])  # fmt: skip
    result.update((key, row[key]) for key in TEXT_KEYS)
    return {key: value for key, value in result.items() if value not in (None, [])}


def pack_clip(
    row: dict, key: str, data_root: str, settings: Settings
) -> tuple[bytes, dict]:
    """Decode a clip and pack it.

    Args:
        row: See ``parse_row``; its paths start from ``data_root``.
        key: The sample's name in the shard.
        data_root: Folder.
        settings: What to make of it.

    Returns:
        The sample's piece of the tar file, and its line for the index.

    Raises:
        ClipError: The clip can't be read, or has neither sound nor picture.
    """
    paths = {
        name: row[name] and os.path.join(data_root, row[name])
        for name in ('clip_path', 'audio_path')
    }
    load = LoadFrames(settings.num_frames, 'all', settings.backend, settings.timeout)
    shown = load.transform(dict(row, **paths))
    images = [shrink(image, settings.short_side) for image in shown.get('imgs', ())]
    waveform = _sound(row, paths['audio_path'], settings)
    if waveform is None and not images:
        raise ClipError(f'{paths["clip_path"]}: neither sound nor picture')
    lengths = dict(
        frame_times=[round(time, 6) for time in shown.get('frame_times', ())],
        audio_samples=0 if waveform is None else len(waveform),
    )
    flags = dict(has_audio=waveform is not None, has_visual=bool(images))
    piece = pack_sample(
        key,
        {**manifest_row(row), **lengths, **flags, 'sample_rate': settings.sample_rate},
        images,
        waveform,
        sample_rate=settings.sample_rate,
        quality=settings.quality,
        codec=settings.codec,
    )
    crc32 = zlib.crc32(piece)
    return piece, dict(
        lengths, key=key, size=len(piece), crc32=crc32, row=manifest_row(row)
    )


def _sound(row: dict, path: str, settings: Settings) -> np.ndarray | None:
    """The clip's waveform (S,)."""
    end = row['end']
    if settings.seconds is not None:
        end = min(np.inf if end is None else end, row['start'] + settings.seconds)
    return read_audio(path, row['start'], end, settings.sample_rate, settings.timeout)


def make_shard(job: Job) -> dict:
    """Write a shard, unless it is there already.

    The tar file gets its name when it is complete, and its report after that, so a
    stopped run leaves nothing that looks finished.

    Returns:
        The report: ``shard`` (as in the index), ``samples`` (lines of the index),
        ``failed`` and ``fingerprint``.
    """
    done = _finished(job)
    if done:
        return done
    partial = job.path.with_suffix('.tar.tmp')
    samples, failed, digest = [], [], hashlib.sha256()
    with open(partial, 'wb') as file:
        for number, row in enumerate(job.rows, start=job.first_key):
            try:
                piece, sample = job.packed(row, f'{number:08d}')
            except ClipError as error:
                failed.append(dict(id=row['sample_id'], reason=str(error)))
                continue
            samples.append(dict(sample, shard=job.number, offset=file.tell()))
            file.write(piece)
            digest.update(piece)
        file.write(END_OF_TAR)
        digest.update(END_OF_TAR)
    shard = dict(name=job.path.name, samples=len(samples),
                 bytes=partial.stat().st_size, sha256=digest.hexdigest())  # fmt: skip
    os.replace(partial, job.path)
    report = dict(shard=shard, samples=samples, failed=failed,
                  fingerprint=job.fingerprint)  # fmt: skip
    _write_whole(job.report_path, json.dumps(report, ensure_ascii=False))
    return report


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f'{path.name}.tmp')
    partial.write_text(text, encoding='utf-8')
    os.replace(partial, path)


def _finished(job: Job) -> dict | None:
    """The report of a shard that an earlier run made of the same rows."""
    try:
        report = json.loads(job.report_path.read_text(encoding='utf-8'))
        size = job.path.stat().st_size
    except (FileNotFoundError, ValueError):
        return None
    same = report['fingerprint'] == job.fingerprint
    return report if same and report['shard']['bytes'] == size else None


def plan_jobs(
    manifest: Path, data_root: str, out_dir: str, settings: Settings, per_shard: int
) -> list[Job]:
    """Split a manifest into jobs of ``per_shard`` clips.

    Raises:
        ManifestError: It has no rows, or a wrong one.
    """
    if per_shard < 1:
        raise ConfigError(f'a shard holds 1 or more clips, not {per_shard}')
    rows = list(iter_manifest(manifest))
    if not rows:
        raise ManifestError(f'{manifest}: the manifest has no rows')
    return [
        Job(first // per_shard, rows[first : first + per_shard], first,
            os.path.abspath(data_root), os.path.abspath(out_dir), settings)
        for first in range(0, len(rows), per_shard)
    ]  # fmt: skip


def run(
    jobs: Sequence[Job], workers: int, ray_address: str | None = None
) -> Iterator[dict]:
    """Make shards; yields reports as they come.

    Args:
        jobs: The shards.
        workers: Processes on this machine; 0: this one, which dies with a decoder.
        ray_address: A Ray cluster that does the work instead, see
            :func:`~coavt_mm.preparation.on_ray.run_on_ray`.
    """
    tasks = {job.number: job for job in jobs}
    with ExitStack() as stack:
        if ray_address is None:
            spread: Spread = partial(run_each, workers=workers)
        else:
            stack.enter_context(joined(ray_address))
            files = stack.enter_context(_to_be_seen(jobs))
            spread = partial(run_on_ray, address=ray_address, files=files)
        done = stack.enter_context(closing(spread(make_shard, tasks, bundle=1)))
        for number, report in done:
            if isinstance(report, Died):
                report = _without_killers(tasks[number], spread)
            yield report


@contextmanager
def _to_be_seen(jobs: Sequence[Job]) -> Iterator[list[str]]:
    """Files that each machine must see: some of the clips, and one beside the shards,
    which has its name for the first time."""
    paths = [row['clip_path'] or row['audio_path'] for job in jobs for row in job.rows]
    clips = (os.path.join(jobs[0].data_root, path) for path in paths)
    handle, mark = tempfile.mkstemp('.tmp', '.seen-', jobs[0].out_dir)
    os.close(handle)
    try:
        yield [mark, *some_files(clips)]
    finally:
        os.unlink(mark)


def _without_killers(job: Job, spread: Spread) -> dict:
    """Make a shard over which a process died, once it is known which clip did it.

    Raises:
        ClipError: A process died again.
    """
    clips = {row['sample_id']: (row, job) for row in job.rows}
    found = spread(_is_packed, clips)
    died = {key: str(result) for key, result in found if isinstance(result, Died)}
    ((_, report),) = spread(make_shard, {0: replace(job, killers=died)})
    if isinstance(report, Died):
        raise ClipError(
            f'{job.path}: the process that makes it died twice ({report}); start the '
            'command again, with fewer --workers'
        )
    return report


def _is_packed(clip: tuple[dict, Job]) -> bool:
    row, job = clip
    try:
        job.packed(row, '0')
    except ClipError:
        return False
    return True


def make_shards(
    manifest: str | Path,
    out_dir: str | Path,
    data_root: str = '',
    *,
    settings: Settings | None = None,
    per_shard: int = 256,
    workers: int = 1,
    ray_address: str | None = None,
    on_report: Callable[[dict, int], None] | None = None,
) -> dict:
    """Make the shards of a manifest and their index; goes on where it was stopped.

    Args:
        manifest: The manifest.
        out_dir: Folder of the shards.
        data_root: Folder that the manifest's paths start from.
        settings: What to make of a clip.
        per_shard: Clips of a shard.
        workers: Processes on this machine; 0: this one, which dies with a decoder.
        ray_address: A Ray cluster that does the work instead.
        on_report: Called with the report of each shard and the number of shards in all,
            in the order in which they are finished.

    Returns:
        The header of the index, see ``index.py``.
    """
    manifest, settings = find_manifest(manifest), settings or Settings()
    backend_order(settings.backend)
    jobs = plan_jobs(manifest, data_root, str(out_dir), settings, per_shard)
    Path(out_dir).mkdir(parents=True, exist_ok=True)
    reports = []
    for report in run(jobs, workers, ray_address):
        reports.append(report)
        if on_report:
            on_report(report, len(jobs))
    reports.sort(key=lambda report: report['shard']['name'])
    return _write_index(manifest, Path(out_dir), settings, reports)


def _write_index(
    manifest: Path, out_dir: Path, settings: Settings, reports: list[dict]
) -> dict:
    header = dict(
        {'protocol': manifest.stem, **read_sidecar(manifest)},
        version=VERSION,
        hash=content_hash(manifest),
        settings=asdict(settings),
        failed=[clip for report in reports for clip in report['failed']],
        shards=[report['shard'] for report in reports],
    )
    samples = [sample for report in reports for sample in report['samples']]
    lines = [json.dumps(x, ensure_ascii=False) + '\n' for x in (header, *samples)]
    _write_whole(out_dir / INDEX_NAME, ''.join(lines))
    return header


def verify(out_dir: str | Path) -> list[str]:
    """Compare the shards of a folder with the checksums of their index.

    Returns:
        What is wrong, a line for each shard; empty when all is well.
    """
    header, _ = read_index(str(Path(out_dir) / INDEX_NAME))
    wrong = []
    for shard in header['shards']:
        path = Path(out_dir) / shard['name']
        if not path.is_file():
            wrong.append(f'{shard["name"]}: missing')
        elif path.stat().st_size != shard['bytes']:
            wrong.append(
                f'{shard["name"]}: {path.stat().st_size} bytes, not {shard["bytes"]}'
            )
        elif sha256(path) != shard['sha256']:
            wrong.append(f'{shard["name"]}: its content has changed (sha256)')
    return wrong
