"""search: the lines of a text whose codes lie nearest to that of a question; the codes of a text are computed once and kept in the cache."""

import hashlib
from pathlib import Path
from typing import Any

import safetensors.torch
import torch.nn.functional as F
from torch import Tensor

from genctl import catalog
from genctl.contract import Batch
from genctl.data._cells import lines
from genctl.data._tokenise import of
from genctl.errors import GenctlError, safe_text
from genctl.tasks import examples, judge, stamp
from genctl.tasks.sample import Sampler


def search(sampler: Sampler, corpus: Path, query: str, k: int, say: Any) -> list[dict[str, Any]]:
    """The k nearest lines, nearest first: {line, likeness, text}. Raises GenctlError (power, usage, no-input, data-...)."""
    examples.need(sampler, "encode")
    known = [(number, line) for number, line in enumerate(lines(corpus), 1) if line.strip()]
    if not known:
        raise GenctlError("data-empty", f"{safe_text(corpus)} has no lines")
    if not query.strip():
        raise GenctlError("usage", "there is nothing to look for", 'genctl search --index corpus.txt "a question"')
    near = (codes(sampler, [line for _, line in known], say) @ encoded(sampler, [query])[0]).topk(min(k, len(known)))
    found = zip(near.indices.tolist(), near.values.tolist(), strict=True)
    return [{"line": known[i][0], "likeness": round(v, 6), "text": known[i][1]} for i, v in found]


def encoded(sampler: Sampler, texts: list[str]) -> Tensor:
    """(n, D) codes of length one."""
    found = examples.encode(sampler, Batch(x=of(sampler.spec).rows(texts, sampler.spec.size).long()))
    return F.normalize(found.flatten(1).float(), dim=1)


def codes(sampler: Sampler, texts: list[str], say: Any) -> Tensor:
    """The same, kept under a name made of the checkpoint and the texts."""
    name = stamp.short([sampler.header.digest, hashlib.sha256("\n".join(texts).encode()).hexdigest()])
    file = catalog.cache_home() / "search" / f"{name}.safetensors"
    try:
        found = safetensors.torch.load(file.read_bytes())["codes"]
        if len(found) == len(texts):
            return found
    except Exception:  # absent, or damaged: computed again
        pass
    say(f"codes of {len(texts):,} lines, once ...")
    found = encoded(sampler, texts)
    judge.write(file, safetensors.torch.save({"codes": found.contiguous()}), say)
    return found
