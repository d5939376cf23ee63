"""Bits per byte of held-out text: what the model needs to write down a byte of UTF-8. It compares whatever the symbols are."""

from genctl.metrics import Case, Score, nll

NEEDS = nll.NEEDS
EXTRACTOR = ""
HIGHER = False


def measure(case: Case) -> Score:
    return nll.per(case, "bits_per_byte", lambda fields: fields["bits_per_byte_se"])
