"""Accuracy of what a model tells about held-out examples: the share that is right; beside it what guessing and a bag of words score.

macro_f1            the mean over classes of 2 right / (said + there are): every class counts the same
chance              the share of the commonest class
bag_of_words        accuracy of logistic regression on the words and pairs of words of the same texts, as far as the model sees them
over_bag_of_words   how much more of the same examples the model has right; its error is that of the difference, example by example
"""

import torch
from torch import Tensor

from genctl.metrics import Case, Score, _words, proportion

NEEDS = frozenset({"predictions", "training"})
EXTRACTOR = ""
HIGHER = True


def macro_f1(said: Tensor, truth: Tensor, classes: int) -> float:
    """Over the classes that are said or there."""
    right = torch.bincount(truth[said == truth], minlength=classes).double()
    whole = torch.bincount(said, minlength=classes) + torch.bincount(truth, minlength=classes)
    return float((2 * right / whole)[whole > 0].mean())


def measure(case: Case) -> Score:
    assert case.predictions is not None and case.training is not None
    wanted, truth = case.spec.given[case.target], case.reference.given[case.target]
    said = case.predictions.argmax(-1)
    kept = truth != wanted.codec.get("none", -1)
    hits = (said == truth)[kept]
    share, se = proportion(hits)
    fields = {
        "macro_f1": macro_f1(said[kept], truth[kept], wanted.vocab),
        "chance": torch.bincount(truth[kept]).max().item() / len(hits),
    }
    if not wanted.shape and not _words.reason_not(case.spec):
        bag = _words.classes(case.training(), case.reference.x, case.spec, case.target) == truth
        gain = hits.double() - bag.double()
        fields |= {"bag_of_words": bag.double().mean().item(), "over_bag_of_words": gain.mean().item()}
        fields["over_bag_of_words_se"] = float(gain.std() / len(gain) ** 0.5)
    return Score(value=share, se=se, fields=fields)
