"""Peak signal-to-noise ratio of pictures made from a source to what stands beside it in the data, in dB; with SSIM and L1.

For models that translate: each picture is drawn from the source of a held-out pair, and compared with its own counterpart. `copy_psnr`,
`copy_ssim` and `copy_l1` are those of the source itself, handed back as it is: what doing nothing scores. Equations: maths/likeness.py.
"""

from genctl.maths import likeness
from genctl.metrics import Case, Score

NEEDS = frozenset({"samples", "pairs"})
EXTRACTOR = ""
HIGHER = True


def measure(case: Case) -> Score:
    assert case.samples is not None and case.pairs is not None
    if case.spec.kind != "image" or case.spec.vocab:
        return Score(value=None, reason="needs pictures")
    x, y = case.samples, case.pairs.x
    each = likeness.psnr(x, y)
    fields = {"ssim": likeness.ssim(x, y).mean().item(), "l1": (x - y).abs().mean().item()}
    source = case.pairs.given.get("source")
    if source is not None and source.shape[2:] == y.shape[2:] and source.shape[1] in (1, y.shape[1]):
        source = source.expand_as(y)
        fields |= {
            "copy_psnr": likeness.psnr(source, y).mean().item(),
            "copy_ssim": likeness.ssim(source, y).mean().item(),
            "copy_l1": (source - y).abs().mean().item(),
        }
    return Score(value=each.mean().item(), se=(each.std() / len(each) ** 0.5).item() if len(each) > 1 else None, fields=fields)
