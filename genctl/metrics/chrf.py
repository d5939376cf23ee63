"""chrF of texts written from a source, by sacrebleu: how many of their groups of up to six characters they share, from 0 to 100.

Popovic 2015, https://aclanthology.org/W15-3049 (chrF2: recall counts twice); `words` counts groups of up to two words too (chrF++, Popovic
2017, https://aclanthology.org/W17-4770). `copy` and `signature` as for bleu.
"""

from genctl.metrics import Case, Score, _texts

NEEDS = frozenset({"samples", "pairs"})
EXTRACTOR = ""
HIGHER = True


def measure(case: Case) -> Score:
    return _texts.corpus(case, lambda m: (m.CHRF(), {"words": m.CHRF(word_order=2)}))
