"""WikiText-2: articles of Wikipedia as words between spaces, rare ones as <unk>.

Merity et al. 2016, https://arxiv.org/abs/1609.07843. With a train.txt the splits are the official ones. Without it, test.txt, the larger of
the other two, is trained on but for its last twentieth, which is the validation part, and valid.txt is the test part: such figures stand
beside no published ones. The space before a line's end is left out, so that there are as many words and line ends as the authors count.
"""

from pathlib import Path
from typing import Literal

from genctl.data import Dataset, find
from genctl.data._tokenise import Way
from genctl.data._tokens import TextConfig, dataset, read
from genctl.errors import GenctlError, safe_text

WANTS = "valid.txt and test.txt, or .txt.gz, and train.txt where it is at hand"


class Config(TextConfig):
    name: Literal["wikitext-2-valid-test"] = "wikitext-2-valid-test"
    """Articles of Wikipedia."""
    tokenise: Way = "words"
    """A symbol is a character, a byte of UTF-8, a word with the space before it, or a piece of a word as long as it is frequent."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, limit."""
    home = find("wikitext-2-valid-test", config.path, WANTS)
    train, valid, test = (_text(home, part) for part in ("train", "valid", "test"))
    if not valid or not test:
        raise GenctlError("no-input", f"{safe_text(home)} lacks valid.txt or test.txt", f"put {WANTS} there")
    if not train:
        lines = test.splitlines(keepends=True)
        cut = len(lines) * 19 // 20
        train, valid, test = "".join(lines[:cut]), "".join(lines[cut:]), valid
    return dataset(config, [train, valid, test])


def _text(home: Path, part: str) -> str:
    """One part, empty where it is not here."""
    for path in (home / f"{part}.txt.gz", home / f"{part}.txt"):
        if path.exists():
            return read(path).decode().replace(" \n", "\n")
    return ""
