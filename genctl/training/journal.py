"""journal.jsonl: one JSON object a line, in the order things happened; cut back to the step that a run resumes from."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """Appends to a run's journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("a", encoding="utf-8")

    def write(self, **entry: Any) -> None:
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


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
