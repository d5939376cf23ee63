"""Printing: results to stdout, everything else to stderr; progress as a bar on a terminal, as plain lines elsewhere."""

import json
import os
import sys
import time
from typing import Any

from genctl.errors import safe_text

PLAIN_EVERY = 10.0  # seconds between plain lines


def say(text: str) -> None:
    """One line on stderr; a closed stderr stops nothing."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        pass


def write(text: str) -> None:
    """A piece of text that goes on, on stdout at once; what could steer a terminal is escaped."""
    print("".join(c if c in "\n\t" else safe_text(c) for c in text), end="", flush=True)


def result(value: dict[str, Any] | list[Any], as_json: bool, lines: list[str]) -> None:
    """A command's result on stdout: one JSON document, or lines."""
    print(json.dumps(value, indent=1, ensure_ascii=False) if as_json else "\n".join(lines))


def facts(found: dict[str, Any]) -> list[str]:
    """A result as lines: its figures, then the file to look at first."""
    out = []
    for name, value in found.items():
        if isinstance(value, dict):
            out.append(f"{name}: " + "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in value.items()))
        elif name not in ("files", "out"):
            out.append(f"{name}: {value:.6g}" if isinstance(value, float) else f"{name}: {safe_text(value, 400)}")
    return [*out, f"in {safe_text(found['out'])}; look at {safe_text(found['files'][0])}"]


def report(progress: str, quiet: bool = False) -> "Plain | Bar":
    """What tells the progress of a run. progress: auto, bar, plain or none."""
    terminal = sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
    if progress == "bar" or (progress == "auto" and terminal and not quiet):
        return Bar()
    return Plain(0 if progress != "none" and not quiet else -1)


def _numbers(logs: dict[str, float]) -> str:
    shown = [
        f"{k.split('/')[-1] if k.endswith('/loss') and k.startswith('model') else k} {v:.4g}"
        for k, v in logs.items()
        if k not in ("rate", "eta") and "grad_norm" not in k
    ]
    return "  ".join(shown[:6])


def _clock(seconds: float) -> str:
    s = int(seconds)
    return f"{s // 3600}:{s % 3600 // 60:02}:{s % 60:02}"


class Plain:
    """A line every ten seconds, and one for everything that matters."""

    def __init__(self, last: float) -> None:
        self.last, self.silent = last, last < 0

    def say(self, text: str) -> None:
        if not self.silent or text.startswith(("warning", "saved", "resumed", "stopping", "resume with")):
            say(text)

    def step(self, step: int, total: int, logs: dict[str, float]) -> None:
        now = time.monotonic()
        if not self.silent and (now - self.last >= PLAIN_EVERY or step == total):
            self.last = now
            say(f"step {step}/{total}  {_numbers(logs)}  {logs['rate']:.1f} steps/s  left {_clock(logs['eta'])}")

    def close(self) -> None:
        pass


class Bar:
    """A rich progress bar with loss, rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.fields[numbers]}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} steps/s", markup=False),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.task: Any = None

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)

    def step(self, step: int, total: int, logs: dict[str, float]) -> None:
        fields: dict[str, Any] = {"numbers": _numbers(logs), "rate": f"{logs['rate']:.1f}"}
        if self.task is None:
            self.bar.start()
            self.task = self.bar.add_task("train", total=total, **fields)
        self.bar.update(self.task, completed=step, **fields)

    def close(self) -> None:
        self.bar.stop()
