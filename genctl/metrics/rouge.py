"""ROUGE-L of texts written from a source, by rouge-score: how much they share with the reference in one order, from 0 to 100; `rouge1`, `rouge2`.

Lin 2004, https://aclanthology.org/W04-1013. F of words and of pairs of words (`rouge1`, `rouge2`), and of the longest row of words that
both hold in one order (`rougeL`, the figure itself); words are letters and digits in small letters, stemmed (Porter). Of several references
the one that fits best counts, for each of the three by itself. `lead1_...` are those of the first sentence of the source, handed back: what
doing nothing scores; `over_lead1` is how much more the figure is than theirs.
"""

import re
from typing import Any

from genctl.metrics import Case, Score, _texts

NEEDS = frozenset({"samples", "pairs"})
EXTRACTOR = ""
HIGHER = True

KINDS = ("rouge1", "rouge2", "rougeL")


def measure(case: Case) -> Score:
    found, library = _texts.read(case), _texts.library("rouge_score.rouge_scorer")
    if isinstance(found, Score) or isinstance(library, Score):
        return found if isinstance(found, Score) else library  # type: ignore[return-value]
    scorer: Any = library.RougeScorer(KINDS, use_stemmer=True)
    own = scored(scorer, found.written, found.references)
    lead = scored(scorer, [first_sentence(s) for s in found.sources], found.references)
    value, se = _texts.mean(own["rougeL"])
    fields = {k: _texts.mean(own[k])[0] for k in KINDS[:2]} | {f"lead1_{k}": _texts.mean(lead[k])[0] for k in KINDS}
    fields["over_lead1"] = value - fields["lead1_rougeL"]
    return Score(value=value, se=se, fields=fields)


def scored(scorer: Any, written: list[str], references: list[tuple[str, ...]]) -> dict[str, list[float]]:
    """F of each text, 0 to 100, by kind."""
    each = [[scorer.score(r, w) for r in refs] for w, refs in zip(written, references, strict=True)]
    return {k: [100 * max(s[k].fmeasure for s in some) for some in each] for k in KINDS}


def first_sentence(text: str) -> str:
    """Up to the first full stop, question or exclamation mark with a space behind it."""
    return re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0]
