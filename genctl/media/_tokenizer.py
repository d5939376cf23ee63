"""Trained tokenisers: a `tokenizer.json`, as the tokenizers library reads and writes it, is the codec of a Spec.

https://huggingface.co/docs/tokenizers. Text that looks like a special symbol is text: only who builds a row puts special symbols into it.
"""

import json
from functools import lru_cache
from typing import Any

from genctl.errors import GenctlError, safe_text

MAX_JSON = 64 * 2**20  # characters of a tokenizer.json


def library() -> Any:
    """The tokenizers package. Raises GenctlError (backend) without it."""
    try:
        import tokenizers
    except ImportError:
        raise GenctlError("backend", "a trained tokeniser needs the 'text' extra (tokenizers)", "pip install 'genctl[text]'") from None
    return tokenizers


@lru_cache(8)
def load(text: str) -> Any:
    """The tokeniser that a tokenizer.json describes. Raises GenctlError (data-format, limit, backend)."""
    if len(text) > MAX_JSON:
        raise GenctlError("limit", f"a tokeniser of {len(text) / 2**20:.0f} MB, limit {MAX_JSON // 2**20} MB")
    tokenizers = library()
    try:
        found = tokenizers.Tokenizer.from_str(text)
    except BaseException as e:  # the library panics on some files, which is no Exception
        if isinstance(e, KeyboardInterrupt | SystemExit):
            raise
        raise GenctlError("data-format", f"not a tokenizer.json: {safe_text(e)}", "a file that the tokenizers library wrote") from None
    found.encode_special_tokens = True
    found.no_padding()
    found.no_truncation()
    return found


def encode(text: str, texts: list[str]) -> list[list[int]]:
    """Each of `texts` as symbols, without any that the tokeniser would add."""
    return [e.ids for e in load(text).encode_batch_fast(texts, add_special_tokens=False)]


def decode(text: str, row: list[int]) -> str:
    """Symbols as text. Numbers that stand for nothing are left out."""
    found: str = load(text).decode(row, skip_special_tokens=False)
    return found


@lru_cache(8)
def unknown(text: str) -> int | None:
    """The symbol for what the vocabulary lacks."""
    tokeniser = load(text)
    name = getattr(tokeniser.model, "unk_token", None)
    return None if name is None else tokeniser.token_to_id(name)


@lru_cache(8)
def names(text: str) -> list[str]:
    """Every symbol as it is written in the vocabulary, by number."""
    tokeniser = load(text)
    found = {i: name for name, i in tokeniser.get_vocab(with_added_tokens=True).items()}
    return [found.get(i, "") for i in range(max(found, default=-1) + 1)]


@lru_cache(8)
def pieces(text: str) -> list[bytes]:
    """What each symbol adds to a text, as bytes: a symbol may be a part of a character. Special symbols add nothing."""
    tree = json.loads(text)
    special = {t["content"] for t in tree.get("added_tokens", []) if t.get("special")}
    mark = (tree["model"].get("continuing_subword_prefix") or "") if tree["model"].get("type") == "WordPiece" else ""
    if '"ByteLevel"' not in json.dumps(tree.get("decoder")):
        return [b"" if n in special else decode(text, [i]).encode() for i, n in enumerate(names(text))]
    byte = alphabet()
    return [b"" if n in special else bytes(byte[c] for c in n.removeprefix(mark) if c in byte) for n in names(text)]


@lru_cache(1)
def alphabet() -> dict[str, int]:
    """The byte behind each character of the byte-level alphabet: printable ones stand for themselves, the others are moved up behind 255.

    Radford et al. 2019, section 2.2.
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(moved)}
