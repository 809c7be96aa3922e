"""Clips per second and core: raw files, shards and spectrograms side by side.

    OMP_NUM_THREADS=1 python tools/analysis/benchmark_data.py

The clips (10 s of H.264, key frame every 250, at 640x360 and 1280x720) are rendered
first. Exits with 1 when shards are less than 4 times as fast as raw 720p files.
"""

import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path

import torch

from coavt_mm.analysis.speed import reading_rates, render_clip, spectrogram_rates
from coavt_mm.cli.launch import run_tool
from coavt_mm.datasets.decoding import backend_order

SIZES = {'640x360': (640, 360), '1280x720': (1280, 720)}
TASKS = ('one frame', 'ten frames', 'sound')


def print_reading(name: str, rates: dict[str, dict[str, float]]) -> None:
    base = rates['raw, pyav']
    print(f'\n{name}: clips/s on one core (times raw, pyav)\n')
    print('| | one random frame + sound | ten frames + sound | sound |')
    print('|---|---|---|---|')
    for source, row in rates.items():
        cells = (f'{row[task]:.1f} ({row[task] / base[task]:.1f}x)' for task in TASKS)
        print(f'| {source} | {" | ".join(cells)} |')


def print_spectrograms(batch: int, device: str, repeats: int) -> None:
    rates = spectrogram_rates(batch, device, repeats)
    base = rates['torchaudio, clip by clip']
    print(f'\nspectrograms of {batch} clips of 10 s, LogMel on {device}\n')
    print('| | clips/s |\n|---|---|')
    for name, rate in rates.items():
        print(f'| {name} | {rate:.0f} ({rate / base:.1f}x) |')


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=5, help='calls of each kind')
    parser.add_argument('--batch', type=int, default=32, help='clips of a spectrogram')
    parser.add_argument('--device', default='cpu', help="LogMel's")
    args = parser.parse_args()
    torch.set_num_threads(1)
    backends = backend_order('pyav')
    worst = float('inf')
    with tempfile.TemporaryDirectory() as folder:
        for name, size in SIZES.items():
            clip = render_clip(Path(folder) / f'{name}.mp4', size)
            rates = reading_rates(clip, backends, args.repeats)
            print_reading(f'{name}, {clip.stat().st_size / 1e6:.1f} MB', rates)
            if name == '1280x720':
                raw = max(rates[f'raw, {b}']['one frame'] for b in backends)
                worst = rates['shard, flac']['one frame'] / raw
    print_spectrograms(args.batch, args.device, args.repeats)
    print(f'\nshards (FLAC) against the fastest decoder at 720p: {worst:.1f}x')
    sys.exit(worst < 4)


if __name__ == '__main__':
    run_tool(main)
