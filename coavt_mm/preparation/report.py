"""The report of a preparation: JSON for programs, Markdown for people."""

import json
from pathlib import Path

from coavt_mm.preparation.settings import PROBLEMS, SOUNDS, UNUSABLE
from coavt_mm.texts import as_code, in_markdown

# Ids that the Markdown names of each problem; the JSON names all.
NAMED = 50


def _markdown(report: dict) -> str:
    lines = [f'# {in_markdown(report["dataset"])}: what became of the list', '']
    columns = ['split', 'listed', 'found', 'written']
    problems = _problems(report)
    columns += [name.replace('_', ' ') for name in problems] + ['hash']
    lines += [f'| {" | ".join(columns)} |', '|---' * len(columns) + '|']
    for split, part in report['splits'].items():
        counts = [len(part['problems'].get(name, ())) for name in problems]
        cells = [split, part['listed'], part['found'], part['written'], *counts]
        lines.append(f'| {" | ".join(map(str, cells))} | {part["hash"]} |')
    lines += [line for x in report['notes'] for line in ('', f'{in_markdown(x)}.')]
    lines += ['', f'Left out for want of a usable file: {", ".join(UNUSABLE)}.']
    for split, part in report['splits'].items():
        if part['shared_captions']:
            lines += ['', f'{split}: {_shared(part)}.']
        for name, ids in part['problems'].items():
            lines += ['', f'## {split}: {name.replace("_", " ")} ({len(ids)})', '']
            for clip, reason in list(ids.items())[:NAMED]:
                about = f': {in_markdown(reason)}' if reason else ''
                lines.append(f'- {as_code(clip)}{about}')
            if len(ids) > NAMED:
                lines.append(f'- and {len(ids) - NAMED} more, see report.json')
    return '\n'.join(lines) + '\n'


def _problems(report: dict) -> tuple[str, ...]:
    """Those that were looked for."""
    asked = any('sounds' in part for part in report['splits'].values())
    return (*PROBLEMS, *SOUNDS) if asked else PROBLEMS


def _shared(part: dict) -> str:
    texts, clips = part['shared_captions'], part['clips_with_shared_captions']
    return f'{texts} captions are shared by several clips, {clips} in all'


def one_line_per_split(report: dict) -> str:
    """What a tool prints at its end."""
    lines = []
    for split, part in report['splits'].items():
        counts = ', '.join(
            f'{len(part["problems"][name])} {name.replace("_", " ")}'
            for name in _problems(report)
            if name in part['problems']
        )
        found = f'{part["written"]} of {part["listed"]} clips written'
        found += f' ({counts})' if counts else ''
        found += f'; {_shared(part)}' if part['shared_captions'] else ''
        lines.append(f'{split}: {found}')
    lines += report['notes']
    return '\n'.join(lines)


def write_report(report: dict, folder: Path) -> None:
    """Write report.json and report.md.

    Args:
        report: dataset, notes (lines), and for each of ``splits`` listed, found,
            written, hash, shared_captions, clips_with_shared_captions (see
            ``shared_captions``) and problems (name -> {id: reason}); sounds (id ->
            what a model says) where one was asked.
        folder: Where to.
    """
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (folder / 'report.json').write_text(text + '\n', encoding='utf-8')
    (folder / 'report.md').write_text(_markdown(report), encoding='utf-8')
