"""What a retrieval evaluation leaves for people: a table, a JSON, flat numbers."""

from pathlib import Path

from mmengine.fileio import dump

from coavt_mm.evaluation.score_modes import RENAMED

DIRECTIONS = ('text_to_clip', 'clip_to_text')
ARROWS = {'text_to_clip': 'text -> clip', 'clip_to_text': 'clip -> text'}
OWN_CLIP, EQUAL_TEXTS = 'own clip is right', 'equal texts are right'


def ceiling_of(ceilings: dict | None, direction: str, stream: str) -> dict | None:
    """Find a ceiling given per direction and stream, or per stream only."""
    ceilings = ceilings or {}
    return ceilings.get(direction, ceilings).get(stream)


def flat_metrics(results: dict) -> dict[str, float]:
    """Numbers for mmengine's log: 'text_to_clip/AV/R@1', 'matching_accuracy'."""
    flat = {
        f'{key}/{stream}/{name}': value
        for key, streams in results.items()
        if key.startswith(DIRECTIONS)
        for stream, summary in streams.items()
        for name, value in summary.items()
    }
    if results.get('matching_accuracy') is not None:
        flat['matching_accuracy'] = results['matching_accuracy']
    return flat


def heading(results: dict) -> str:
    """One line that says what was ranked; no number stands without it."""
    facts = {
        'protocol': results['protocol'] or 'not named',
        'manifest': results['manifest'] or 'not named',
        'hash': (results['manifest_hash'] or 'none')[:12],
        **{key: results[key] for key in ('clips', 'captions') if key in results},
        'missing': 'not stated' if results['missing'] is None else results['missing'],
    }
    return ', '.join(f'{name} {value}' for name, value in facts.items())


def _cells(summary: dict, names: list[str]) -> list[str]:
    values = [summary.get(name) for name in names]
    return ['-' if value is None else f'{value:.1f}' for value in values]


def _rows(results: dict, names: list[str]) -> list[list[str]]:
    rows = []
    for key in results:
        if not key.startswith(DIRECTIONS):
            continue
        direction = next(name for name in DIRECTIONS if key.startswith(name))
        mode = key[len(direction) + 1 :] or 'cosine'
        mode = RENAMED.get(mode, mode)
        for stream, summary in results[key].items():
            counts = [str(n) for n in results['streams'][stream].values()]
            label = [ARROWS[direction], mode, stream]
            rows.append(label + _cells(summary, names) + counts)
            best = ceiling_of(results['ceilings'], direction, stream)
            if best and mode == 'cosine':
                label[1] = 'ceiling'
                rows.append(label + _cells(best, names) + [''] * len(counts))
    return rows


def draw_table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns are padded, so that a terminal can show it."""
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    rows.insert(1, ['-' * width for width in widths])
    padded = [map(str.ljust, row, widths) for row in rows]
    return ''.join(f'| {" | ".join(row)} |\n' for row in padded)


def markdown_table(results: dict) -> str:
    """Readable both in a terminal and on a page; R@k in per cent, ranks from 1."""
    summaries = [
        summary
        for key in results
        if key.startswith(DIRECTIONS)
        for summary in results[key].values()
    ]
    if not summaries:
        return f'{heading(results)}\n\nNo caption has its clip in any gallery.\n'
    names = list(summaries[0])
    head = ['direction', 'score', 'stream', *names, 'gallery', 'captions', 'missing']
    lines = [draw_table(head, _rows(results, names))]
    if results.get('matching_accuracy') is not None:
        share = results['matching_accuracy']
        lines.append(f'Matching accuracy on held-out pairs: {100 * share:.1f} %\n')
    notes = [f'{results["note"]}\n'] if results.get('note') else []
    lines += _about_texts(results)
    return '\n'.join([f'{heading(results)}\n', *notes, *lines])


def _about_texts(results: dict) -> list[str]:
    """What is right, how many texts clips share, and what either rule allows then."""
    if 'right_answers' not in results:  # of an earlier release
        return []
    lines = [f'Rule: {results["right_answers"]}.']
    if results['temperatures']:
        named = results['temperatures'].items()
        said = ', '.join(f'{RENAMED.get(mode, mode)} {t:g}' for mode, t in named)
        lines.append(f'Temperatures: {said}.')
    if results['text_ceilings']:
        shared = results['shared_texts'].items()
        lines += [f'{stream}: {say_shared(numbers)}' for stream, numbers in shared]
        lines += ['', ceilings_table(results['text_ceilings'])]
    else:
        lines.append('No text is of several clips.')
    return ['\n'.join(lines).rstrip() + '\n']


def say_shared(numbers: dict[str, int]) -> str:
    """One sentence of :func:`~coavt_mm.evaluation.text_ceilings.shared_texts`."""
    said = '{captions} captions, {distinct} distinct texts'.format(**numbers)
    if not numbers['shared']:
        return f'{said}, none of several clips.'
    shared = '{shared} captions are of several clips, of up to {most_clips}.'
    return f'{said}; {shared.format(**numbers)}'


def ceilings_table(ceilings: dict[str, dict]) -> str:
    """What equal texts allow at best, a row a rule, direction and stream.

    Args:
        ceilings: Stream -> what
            :func:`~coavt_mm.evaluation.text_ceilings.text_ceilings` gives.
    """
    names = ['R@1', 'R@5', 'R@10', 'MedR', 'MeanR']
    rows = [
        [OWN_CLIP, ARROWS[direction], stream, *_cells(summary, names)]
        for stream, rules in ceilings.items()
        for direction, summary in rules['own_clip'].items()
    ]
    best = next(iter(ceilings.values()))['equal_texts']['text_to_clip']
    rows.append([EQUAL_TEXTS, 'both', 'all', *_cells(best, names)])
    return draw_table(['ceiling of the texts', 'direction', 'stream', *names], rows)


def save_report(results: dict, out_dir: str | Path) -> None:
    """Write retrieval.json and retrieval.md."""
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    dump(results, out_dir / 'retrieval.json', indent=2)
    (out_dir / 'retrieval.md').write_text(markdown_table(results), 'utf-8')
