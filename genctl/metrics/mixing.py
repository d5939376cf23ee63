"""Mixing: how soon the Markov chains that a model draws by forget where they were, by the class that a classifier sees in them.

50 chains start where they have cooled (`anneal`), and are looked at after each of 2,000 steps. A chain that mixes goes from class to
class; one that does not shows one digit for ever. Chains that never move are still worth half a draw each, which is 0.25 here.

value            the effective sample size that a thousand steps of one chain are worth, of the class that is worth least; a thousand
                 for independent draws. Classes never seen, or always, count nothing
switch_rate      the share of steps after which the class is another one
switch_floor     that of real examples one after another in a random order: what independent draws would have
switched         the share of chains that were ever in more than one class
classes          how many were seen by all chains together

`--set rungs=10` measures parallel tempering.
"""

import math

import torch
from torch import Tensor

from genctl.maths import chains
from genctl.metrics import Case, Score, jackknife
from genctl.metrics.modes import combined

NEEDS = frozenset({"chains", "predict"})
EXTRACTOR = "classifier"
HIGHER = True


def worth(classes: Tensor) -> float:
    """Effective draws a thousand steps, of (T, n) classes: the least over the classes that come and go."""
    steps, n = classes.shape
    seen = [k for k in set(classes.flatten().tolist()) if not (classes == k).all()]
    found = [chains.effective((classes == k).double()) for k in seen]
    return 1000 * min(found) / (steps * n) if found else 0.0


def switches(classes: Tensor) -> float:
    """The share of steps after which the class (T, ...) is another."""
    return float((classes[1:] != classes[:-1]).double().mean())


def measure(case: Case) -> Score:
    assert case.predict is not None
    assert case.chains is not None
    steps, n = case.chains.shape[:2]
    classes = combined(case.predict(case.chains.flatten(0, 1))).view(steps, n)
    real = combined(case.predict(case.reference.x))
    real = real[torch.randperm(len(real), generator=torch.Generator().manual_seed(case.seed))]
    each = (classes[1:] != classes[:-1]).double().mean(0)
    fields = {
        "switch_rate": switches(classes),
        "switch_rate_se": float(each.std() / math.sqrt(n)),
        "switch_floor": switches(real),
        "switched": float((classes != classes[:1]).any(0).double().mean()),
        "classes": len(set(classes.flatten().tolist())),
        "steps": steps,
        "chains": n,
    }
    se = jackknife(lambda rows: worth(classes[:, rows]), n, seed=case.seed)
    return Score(value=worth(classes), se=se, floor=1000.0, fields=fields)
