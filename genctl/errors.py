"""One error class, and the one table from an error's id to the exit status of the process.

The numbers follow sysexits.h where a meaning fits; 1 is left to bugs in genctl itself.
"""

import unicodedata
from collections.abc import Iterable

EXIT: dict[str, int] = {
    "internal": 1,
    "usage": 2,
    "power": 2,
    "data-empty": 65,
    "data-format": 65,
    "data-encoding": 65,
    "data-nonfinite": 65,
    "data-bad": 65,
    "data-mismatch": 65,
    "ckpt-truncated": 65,
    "ckpt-checksum": 65,
    "ckpt-header": 65,
    "ckpt-format": 65,
    "ckpt-meta": 65,
    "ckpt-content": 65,
    "ckpt-changed": 65,
    "prompt-token": 65,
    "prompt-length": 65,
    "no-input": 66,
    "device": 69,
    "backend": 69,
    "oom": 71,
    "limit": 71,
    "out-exists": 73,
    "out-unwritable": 73,
    "run-busy": 73,
    "io": 74,
    "save-failed": 74,
    "data-worker": 75,
    "peer-lost": 75,
    "permission": 77,
    "config": 78,
    "ckpt-mismatch": 78,
    "guard-nonfinite": 80,
    "guard-collapse": 80,
    "gate": 81,
}


class GenctlError(Exception):
    """Something the user can mend: what went wrong (`what`), and one concrete thing to do (`try_`).

    `what` may be a list of lines (the mistakes of a recipe). `id` is stable and picks the exit status.
    """

    def __init__(self, id: str, what: str | Iterable[str], try_: str | None = None) -> None:
        self.id, self.try_ = id, try_
        self.told = False  # another rank has printed it
        self.lines = [what] if isinstance(what, str) else list(what)
        super().__init__("; ".join(self.lines))

    @property
    def code(self) -> int:
        """The exit status."""
        return EXIT[self.id]

    def __str__(self) -> str:
        lines = [f"genctl: error[{self.id}]: {line}" for line in self.lines]
        return "\n".join([*lines, f"  try: {self.try_}"] if self.try_ else lines)


class Stopped(Exception):
    """A signal ended the process after a clean save; its exit status is 128 + the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.code = 128 + signum


def safe_text(value: object, limit: int = 120) -> str:
    """Text from a file, fit for a terminal: control and direction characters escaped, cut to `limit`."""
    text = str(value)
    cut = text[: limit + 1]
    shown = "".join(c if c == " " or unicodedata.category(c)[0] not in "CZ" else c.encode("unicode_escape").decode() for c in cut[:limit])
    return shown + "..." if len(cut) > limit else shown


def exit_code(error: BaseException) -> int:
    """The exit status for any exception that ends the process."""
    return error.code if isinstance(error, GenctlError | Stopped) else EXIT["internal"]
