"""Interleaved timing: every system in turn, round after round, so that a noisy machine treats all alike. Medians and ratios.

python benchmarks/loop.py
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch


def arguments(**flags: str) -> argparse.Namespace:
    """threads, rounds, cpu_clock, and further flags by name: switches with their help, choices with their default (a,b,c).

    Threads and seed are set.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's choice, as a user has it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu-clock", action="store_true", help="process time instead of wall time")
    for name, said in flags.items():
        flag = "--" + name.replace("_", "-")
        if "," in said and " " not in said:
            parser.add_argument(flag, default=said, metavar=said)
        else:
            parser.add_argument(flag, action="store_true", help=said)
    args = parser.parse_args()
    args.clock = f"{args.threads} thread(s), {'CPU' if args.cpu_clock else 'wall'} clock"
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    return args


def interleave(systems: dict[str, Callable[[], float]], rounds: int = 5, cpu: bool = False) -> dict[str, list[float]]:
    """Calls each system once to warm up, then `rounds` times in turn. Each call does its work and returns how many units it did.

    Returns units a second of the wall clock, or of the process's CPU clock where other work disturbs, by system and round.
    """
    clock = time.process_time if cpu else time.perf_counter
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(rounds + 1):
        for name, work in systems.items():
            start = clock()
            units = work()
            if turn:
                rates[name].append(units / (clock() - start))
    return rates


def table(title: str, unit: str, rates: dict[str, list[float]], peer: str) -> str:
    """A Markdown table: median, range, and the median of the round-by-round ratios to `peer`."""
    lines = [f"**{title}**", "", f"| system | {unit} (median) | range | ratio to {peer} |", "| --- | --- | --- | --- |"]
    for name, values in rates.items():
        ratio = statistics.median(a / b for a, b in zip(values, rates[peer]))
        lines.append(f"| {name} | {statistics.median(values):,.4g} | {min(values):,.4g} to {max(values):,.4g} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"
