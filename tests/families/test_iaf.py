"""iaf: the battery; it is the mirror of maf: the same layers, read the other way."""

import pytest
import torch

from genctl.contract import Spec
from genctl.families.flow.iaf import IAF
from genctl.families.flow.maf import MAF
from tests.battery import build, check_family, check_resume
from tests.families.flows import GREY, PLANE, ROW, bent, check_inverse, check_mass

SMALL = {"layers": 2, "hidden": [16]}


@pytest.mark.parametrize("spec", [ROW, GREY], ids=lambda s: s.kind)
def test_battery(spec):
    check_family(IAF, SMALL, spec)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(IAF, SMALL, ROW, tmp_path, cut=cut, steps=8, batch=8)


def test_it_inverts_and_its_log_determinant_is_that_of_the_jacobian():
    check_inverse(bent(IAF, SMALL, ROW, strength=0.1), 3)


def test_the_density_integrates_to_one():
    check_mass(bent(IAF, SMALL, PLANE, strength=0.1))


def test_it_draws_as_maf_encodes():
    one, other = build(IAF, SMALL, Spec(shape=(4,))), build(MAF, SMALL, Spec(shape=(4,)))
    other.flow.load_state_dict(one.inverse.state_dict())
    z = torch.randn(3, 4)
    with torch.no_grad():
        torch.testing.assert_close(one.from_noise(z, None), other.to_noise(z, None)[0])
