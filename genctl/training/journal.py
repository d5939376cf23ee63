"""journal.jsonl: one JSON object a line, in the order things happened; cut back to the step that a run resumes from."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """Appends to a run's journal."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)

    def write(self, **entry: Any) -> None:
        """Appends a line; what is not finite is null. A full disk costs lines, not the run."""
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}
        try:
            os.write(self.fd, (json.dumps(plain) + "\n").encode())
        except OSError:
            pass

    def close(self) -> None:
        os.close(self.fd)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal; a torn last line is passed over."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def rewind(path: Path, step: int) -> None:
    """Drops what was written after `step`."""
    kept = [e for e in read(path) if e.get("step", 0) <= step]
    temporary = path.with_name(".journal.tmp")
    temporary.write_text("".join(json.dumps(e) + "\n" for e in kept), encoding="utf-8")
    os.replace(temporary, path)
