"""copy: the battery, and its own truth: what goes in comes out, in the size and the channels of x."""

import pytest
import torch

from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.baseline.copy import Copy
from genctl.maths import filters
from tests.battery import build, check_family, check_resume

SMALL = Spec(shape=(1, 4, 4), levels=256, media="image")
PAIR = Spec(shape=(3, 8, 8), levels=256, given={"source": SMALL}, media="image")


def test_battery():
    check_family(Copy, {}, PAIR, descends=False, certain=True)


def test_resume_is_exact(tmp_path):
    check_resume(Copy, {}, PAIR, tmp_path, cut=2, steps=4, batch=8)


def test_what_goes_in_comes_out():
    source = torch.rand(2, 1, 5, 7)
    x = build(Copy, {}, PAIR).sample(2, Copy.Draw(), {"source": source})
    assert torch.equal(x, filters.bicubic(source.expand(-1, 3, -1, -1), 2).clamp(0, 1))
    grey = Spec(shape=(1, 8, 8), levels=256, given={"other": Spec(shape=(3, 8, 8), levels=256)}, media="image")
    colour = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(build(Copy, {}, grey).sample(2, Copy.Draw(), {"other": colour}), filters.grey(colour))


def test_something_to_copy_is_needed():
    with pytest.raises(GenctlError, match="beside"):
        build(Copy, {}, SMALL)
