"""predict: what a model tells about examples of one's own, one JSON object each."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl.contract import Batch, Spec
from genctl.data import _cells, _squad, _tagged
from genctl.data._tokenise import Coder, of, padded
from genctl.errors import GenctlError, safe_text
from genctl.metrics import em, f1
from genctl.tasks import examples, readback
from genctl.tasks.sample import Sampler, writable

LIKELIEST = 3


def predict(sampler: Sampler, path: Path, field: str = "text") -> list[dict[str, Any]]:
    """An object for each example in a file. Raises GenctlError (power, no-input, data-...)."""
    examples.need(sampler, "predict")
    model: Any = sampler.model
    spec, wanted = sampler.spec, sampler.spec.given[model.target]
    if spec.media != "text":
        x, _ = readback.read(path, spec)
        return [{"example": i, **said} for i, said in enumerate(_classes(_logits(sampler, x), wanted))]
    coder, rows = of(spec), objects(path, field)
    if wanted.shape == (2,):
        return _spans(sampler, coder, rows)
    texts = [text_of(row, field, path, i) for i, row in enumerate(rows, 1)]
    if wanted.shape:
        return _tags(sampler, coder, texts, wanted)
    x = coder.rows(texts, spec.size).long()
    return [{**row, **said} for row, said in zip(rows, _classes(_logits(sampler, x), wanted), strict=True)]


def objects(path: Path, field: str) -> list[dict[str, Any]]:
    """The lines of a .txt under one name, the rows of a .csv or .tsv, the objects of a .jsonl. Raises GenctlError (no-input, data-...)."""
    kind = path.name.lower().removesuffix(".gz").rsplit(".", 1)[-1]
    if kind in ("jsonl", "json", "ndjson"):
        return [row for _, row in _cells.objects(path, f'{{"{field}": ...}}')]
    found = _cells.lines(path)
    if kind not in ("csv", "tsv"):
        return [{field: line} for line in found]
    try:
        return list(csv.DictReader(io.StringIO("\n".join(found)), delimiter="\t" if kind == "tsv" else ","))
    except csv.Error as e:
        raise GenctlError("data-format", f"{safe_text(path)}: {safe_text(e)}") from None


def text_of(row: dict[str, Any], field: str, path: Path, number: int) -> str:
    """Raises GenctlError (data-format)."""
    text = row.get(field)
    if not isinstance(text, str):
        there = ", ".join(safe_text(k, 30) for k in row if k) or "nothing"
        what = f"{safe_text(path)}: example {number} has no text '{safe_text(field)}'; there is {there}"
        raise GenctlError("data-format", what, "--field NAME")
    return text


def _logits(sampler: Sampler, x: Tensor) -> Tensor:
    model: Any = sampler.model
    if not len(x):
        raise GenctlError("data-empty", "there are no examples to tell anything about")
    return examples.blocks(model, Batch(x=x), 0, "predict", model.predict).float()


def name(spec: Spec, k: int) -> str:
    names = spec.codec.get("names", [])
    return str(names[k]) if k < len(names) else str(k)


def _classes(logits: Tensor, wanted: Spec) -> list[dict[str, Any]]:
    """The likeliest class of each, its probability, and the next ones; of several labels all are listed."""
    if logits.ndim > 2:
        return [{"labels": [name(wanted, k) for k in row]} for row in logits.argmax(-1).flatten(1).tolist()]
    p, index = logits.softmax(-1).topk(min(LIKELIEST, logits.shape[-1]))
    return [
        {
            "label": name(wanted, k[0]),
            "probability": round(v[0], 6),
            "likeliest": {name(wanted, a): round(b, 6) for a, b in zip(k, v, strict=True)},
        }
        for k, v in zip(index.tolist(), p.tolist(), strict=True)
    ]


def _tags(sampler: Sampler, coder: Coder, texts: list[str], wanted: Spec) -> list[dict[str, Any]]:
    """Words with their tags, and the entities that these make."""
    split = [text.split() for text in texts]
    rows = [_tagged.aligned(coder, words) for words in split]
    x = padded([row for row, _ in rows], sampler.spec.size, coder.end, torch.long)
    logits = _logits(sampler, x)
    logits[..., int(wanted.codec.get("none", wanted.vocab)) :] = -torch.inf
    found = []
    for words, (_, first), said in zip(split, rows, logits, strict=True):
        seen = [at for at in first if at < len(said) - 1]  # words behind the model's length are not seen
        p, tag = said[seen].softmax(-1).max(-1)
        tags = [name(wanted, k) for k in tag.tolist()]
        parts = [
            {"text": " ".join(words[a:b]), "type": kind, "probability": round(p[a:b].min().item(), 6)} for a, b, kind in f1.entities(tags)
        ]
        found.append({"words": words[: len(seen)], "tags": tags, "entities": parts})
    return found


def _spans(sampler: Sampler, coder: Coder, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The words of the context that answer the question."""
    asked = []
    for number, row in enumerate(rows, 1):
        question, context = row.get("question"), row.get("context")
        if not isinstance(question, str) or not isinstance(context, str):
            raise GenctlError("data-format", f"example {number} has no question and context", '{"question": ..., "context": ...}')
        asked.append((question, _squad.words(context), *_squad.together(coder, question, context, sampler.spec.size)))
    logits = _logits(sampler, torch.stack([row for _, _, row, _ in asked]))
    found = []
    for (question, words, _, first), (a, b), said in zip(asked, em.spans(logits).tolist(), logits.softmax(-1), strict=True):
        inside = [i for i in range(len(words)) if first[i] <= b and first[i + 1] > a]
        answer = " ".join(words[i] for i in inside)
        found.append({"question": question, "answer": answer, "probability": round((said[0, a] * said[1, b]).item(), 6)})
    return found


def write(found: list[dict[str, Any]], out: Path) -> None:
    """One object a line. Raises GenctlError (out-unwritable)."""
    with writable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), encoding="utf-8")
