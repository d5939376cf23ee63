"""Frechet Inception distance: Gaussians fitted to Inception features of samples and of real images.

Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, https://arxiv.org/abs/1706.08500. Figures compare only at the same
weights, resize, n and reference: the stamp names them. Without a weights file there is no FID, and `fd_classifier` is measured.
"""

from genctl.metrics import Case, Score, _frechet

NEEDS = frozenset({"samples", "train", "features"})
EXTRACTOR = "inception"
HIGHER = False


def measure(case: Case) -> Score:
    samples, reference = case.of("samples"), _frechet.moments(case.of("reference"))
    root = reference.root
    return Score(
        value=_frechet.distance(_frechet.moments(samples), reference, root),
        se=_frechet.standard_error(samples, reference, case.seed),
        floor=_frechet.distance(_frechet.moments(case.floor()), reference, root),
        fields={"dimensions": samples.shape[1]},
    )
