"""Text to symbols: what a symbol is, and a tokeniser trained on the training part where symbols are to be learned.

Byte pairs: Sennrich et al. 2016, https://arxiv.org/abs/1508.07909; word pieces: Wu et al. 2016, https://arxiv.org/abs/1609.08144;
unigrams: Kudo 2018, https://arxiv.org/abs/1804.10959. All three see text as bytes (Radford et al. 2019), so that every text comes back
as it went in and nothing is unknown. They are trained by the tokenizers library.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import DataConfig
from genctl.errors import GenctlError, safe_text
from genctl.media import _tokenizer

MAX_SYMBOLS = 8_000  # the table of characters travels in every checkpoint's header
END, UNKNOWN = "<|end|>", " <unk>"
ENDS = (END, "<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>", "[SEP]")  # what ends a text in the tokenisers that are about
MORE = "◌"  # stands before a piece that goes on with a word; no byte is written so
WORD = r" ?[^\s]+|\s"

Way = Literal["chars", "bytes", "words", "bpe", "wordpiece", "unigram"]


class TokeniseConfig(DataConfig):
    """The keys of every set of text."""

    tokenise: Way = "chars"
    """A symbol is a character, a byte of UTF-8, a word with the space before it, or a piece of a word as long as it is frequent."""
    vocab: int = Field(0, ge=0, le=1_000_000)
    """How many symbols to learn, of words the most frequent ones; 0: 4096, and every word."""
    lower: bool = False
    """Read text in small letters, each as if a space stood before it, so that a word is one symbol wherever it stands. Learned symbols only."""
    tokenizer: str | None = None
    """A tokenizer.json to take as it is, whatever `tokenise` says. A checkpoint holds its own."""


@dataclass(frozen=True)
class Coder:
    """Symbols of text. `special`: the numbers of special symbols by their names."""

    codec: dict[str, Any]
    vocab: int
    special: dict[str, int]

    @property
    def end(self) -> int:
        """The symbol that ends a text. Raises GenctlError (data-format)."""
        for name in ENDS:
            if name in self.special:
                return self.special[name]
        raise GenctlError("data-format", f"the tokeniser has no symbol that ends a text: none of {', '.join(ENDS)}", "add one to its file")

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text as symbols, without special ones. Characters that are not in the table are left out."""
        if text := self.codec.get("tokenizer"):
            return _tokenizer.encode(text, list(texts))
        if self.codec.get("bytes"):
            return [list(t.encode("utf-8", errors="replace")) for t in texts]
        number = {s: i for i, s in enumerate(self.codec["symbols"]) if i not in self.special.values()}
        return [[number[c] for c in t if c in number] for t in texts]

    def rows(self, texts: Sequence[str], length: int) -> Tensor:
        """(N, length) of the smallest integers that hold them: texts cut to fit, then filled, with the end symbol."""
        return padded(self.encode(texts), length, self.end, small(self.vocab))

    def spec(self, length: int, **more: Any) -> Spec:
        """Of rows that end."""
        return Spec(shape=(length,), vocab=self.vocab, end=self.end, media="text", codec=self.codec, **more)


def small(vocab: int) -> torch.dtype:
    """The smallest integers that number so many symbols."""
    return torch.uint8 if vocab <= 256 else torch.int16 if vocab <= 2**15 else torch.int32


def padded(rows: Sequence[Sequence[int]], length: int, end: int, dtype: torch.dtype) -> Tensor:
    """(N, length): each row cut to length - 1 symbols, and filled with `end`."""
    out = torch.full((len(rows), length), end, dtype=dtype)
    for i, row in enumerate(rows):
        kept = row[: length - 1]
        out[i, : len(kept)] = torch.tensor(kept, dtype=dtype)
    return out


def fit(config: TokeniseConfig, texts: Sequence[str], special: Sequence[str] = (END,), learn: Sequence[str] | None = None) -> Coder:
    """The symbols of `texts`; pieces and words are learned from `learn` alone, the training part. Raises GenctlError (limit, backend, ...).

    special     names of symbols that no text contains, the first numbers of all but bytes
    """
    if config.tokenizer:
        return given(config.tokenizer)
    if config.lower and config.tokenise in ("bytes", "chars"):
        raise GenctlError("config", f"data.lower: {config.tokenise} are read as they are", "data.tokenise=wordpiece, or data.lower=false")
    if config.tokenise == "bytes":
        names = {"specials": list(special)} if special else {}
        return Coder({"bytes": True, **names}, 256 + len(special), {s: 256 + i for i, s in enumerate(special)})
    if config.tokenise == "chars":
        return characters(texts, special)
    return given(train(config.tokenise, config.vocab, texts if learn is None else learn, special, config.lower))


def of(spec: Spec) -> Coder:
    """The coder of a Spec that ends. Raises GenctlError (power)."""
    if spec.media != "text" or spec.end is None:
        raise GenctlError("power", "this model does not read texts that end", "a model trained on lines or labelled texts")
    codec = spec.codec
    if "tokenizer" in codec:
        return given(codec["tokenizer"])
    names = {256 + i: s for i, s in enumerate(codec.get("specials", []))} if codec.get("bytes") else dict(enumerate(codec["symbols"]))
    return Coder(codec, spec.vocab, {s: i for i, s in names.items() if s.startswith("<|")} | {END: spec.end})


def characters(texts: Sequence[str], special: Sequence[str] = (END,)) -> Coder:
    """A symbol for each character of `texts`, in their own order. Raises GenctlError (limit)."""
    known = sorted(set().union(*texts))
    if len(known) > MAX_SYMBOLS:
        raise GenctlError("limit", f"the text has {len(known):,} distinct characters, limit {MAX_SYMBOLS:,}", "data.tokenise=bytes")
    shown = ["" if s == END else s for s in special]
    return Coder({"symbols": [*shown, *known]}, len(special) + len(known), {s: i for i, s in enumerate(special)})


def given(source: str) -> Coder:
    """The coder of a tokenizer.json: its text, or the path of a file. Raises GenctlError (no-input, data-format, limit)."""
    if not source.startswith("{"):
        path = Path(source).expanduser()
        try:
            source = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError):
            raise GenctlError("no-input", f"data.tokenizer: no text file at {safe_text(path)}", "the path of a tokenizer.json") from None
    names = _tokenizer.names(source)
    number = {name: i for i, name in enumerate(names)}
    added = {t["content"] for t in json.loads(source).get("added_tokens", [])}
    special = {name: number[name] for name in sorted({*added, *ENDS}) if name in number}
    return Coder({"tokenizer": source}, len(names), special)


# --- training ----------------------------------------------------------------------------------------------------------------


def train(way: str, vocab: int, texts: Iterable[str], special: Sequence[str], lower: bool = False) -> str:
    """A tokenizer.json. `unigram` is not the same to the last piece when it is trained again; the others are."""
    small = [{"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Prepend", "prepend": " "}]
    lines = (f" {line.lower().strip()}" if lower else line for text in texts for line in text.splitlines(keepends=True))
    ways = {"words": _words, "bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram}
    found = ways[way](vocab or (1_000_000 if way == "words" else 4096), lines, special)
    return (
        json.dumps(json.loads(found) | {"normalizer": {"type": "Sequence", "normalizers": small}}, ensure_ascii=False) if lower else found
    )


def _tokeniser(model: Any, decoder: Any) -> Any:
    """One that sees bytes."""
    t = _tokenizer.library()
    found = t.Tokenizer(model)
    found.pre_tokenizer = t.pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoder
    return found


def _bytes() -> list[str]:
    return sorted(_tokenizer.alphabet())


def _bpe(vocab: int, lines: Iterable[str], special: Sequence[str]) -> str:
    t = _tokenizer.library()
    found = _tokeniser(t.models.BPE(), t.decoders.ByteLevel())
    trainer = t.trainers.BpeTrainer(
        vocab_size=_room(vocab, 256, special), special_tokens=list(special), initial_alphabet=_bytes(), show_progress=False
    )
    return _trained(found, trainer, lines)


def _unigram(vocab: int, lines: Iterable[str], special: Sequence[str]) -> str:
    t = _tokenizer.library()
    found = _tokeniser(t.models.Unigram(), t.decoders.ByteLevel())
    trainer = t.trainers.UnigramTrainer(
        vocab_size=_room(vocab, 256, special), special_tokens=list(special), initial_alphabet=_bytes(), show_progress=False
    )
    return _trained(found, trainer, lines)


def _wordpiece(vocab: int, lines: Iterable[str], special: Sequence[str]) -> str:
    """Every byte is a piece in both its forms, in an order of its own: what is left to the library is numbered anew each time."""
    t = _tokenizer.library()
    found = _tokeniser(
        t.models.WordPiece(continuing_subword_prefix=MORE), t.decoders.Sequence([t.decoders.Replace(MORE, ""), t.decoders.ByteLevel()])
    )
    first = [*special, *_bytes(), *(MORE + c for c in _bytes())]
    trainer = t.trainers.WordPieceTrainer(
        vocab_size=_room(vocab, 512, special), special_tokens=first, continuing_subword_prefix=MORE, show_progress=False
    )
    tree = json.loads(_trained(found, trainer, lines))
    tree["added_tokens"] = [a for a in tree["added_tokens"] if a["content"] in special]
    tree["model"] |= {"unk_token": first[len(special)], "max_input_chars_per_word": 1_000_000}  # never needed: every byte is known
    return json.dumps(tree, ensure_ascii=False)


def _words(vocab: int, lines: Iterable[str], special: Sequence[str]) -> str:
    t = _tokenizer.library()
    found = t.Tokenizer(t.models.WordLevel(unk_token=UNKNOWN))
    found.pre_tokenizer = t.pre_tokenizers.Split(t.Regex(WORD), "isolated")
    found.decoder = t.decoders.Fuse()
    trainer = t.trainers.WordLevelTrainer(vocab_size=vocab, special_tokens=[*special, UNKNOWN], show_progress=False)
    return _trained(found, trainer, lines)


def _room(vocab: int, least: int, special: Sequence[str]) -> int:
    """Raises GenctlError (config) where bytes and special symbols do not fit."""
    if vocab < least + len(special):
        raise GenctlError(
            "config", f"data.vocab {vocab}: bytes and special symbols alone are {least + len(special)}", "a larger data.vocab"
        )
    return vocab


def _trained(found: Any, trainer: Any, lines: Iterable[str]) -> str:
    found.train_from_iterator(lines, trainer)
    text: str = found.to_str()
    return text
