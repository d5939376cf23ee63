"""BLEU of texts written from a source, by sacrebleu: cased, tokenised its own way (13a), from 0 to 100; `lower` without case.

Papineni et al. 2002, https://aclanthology.org/P02-1040; Post 2018, https://arxiv.org/abs/1804.08771. Each text is written from the source of a
held-out pair; of several references each may lend its n-grams. `copy` is the figure of the source handed back, `signature` says in
sacrebleu's own words what was computed.
"""

from genctl.metrics import Case, Score, _texts

NEEDS = frozenset({"samples", "pairs"})
EXTRACTOR = ""
HIGHER = True


def measure(case: Case) -> Score:
    return _texts.corpus(case, lambda m: (m.BLEU(), {"lower": m.BLEU(lowercase=True)}))
