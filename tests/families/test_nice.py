"""nice: the battery; couplings keep volume, so that the last layer alone is its log-determinant."""

import pytest
import torch

from genctl.contract import Spec
from genctl.families.flow.nice import NICE
from tests.battery import check_family, check_resume
from tests.families.flows import GREY, PLANE, ROW, SIZES, bent, check_inverse, check_mass

SMALL = {"couplings": 3, "hidden": [16]}


@pytest.mark.parametrize("spec", [ROW, GREY], ids=lambda s: s.kind)
def test_battery(spec):
    check_family(NICE, SMALL, spec)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(NICE, SMALL, ROW, tmp_path, cut=cut, steps=8, batch=8)


@SIZES
def test_it_inverts_and_its_log_determinant_is_that_of_the_jacobian(size):
    check_inverse(bent(NICE, SMALL, Spec(shape=(size,))), size)


def test_the_density_integrates_to_one():
    check_mass(bent(NICE, SMALL, PLANE))


def test_couplings_keep_volume():
    net = bent(NICE, SMALL, ROW)
    log_det = net.to_noise(torch.randn(5, 3), None)[1]
    torch.testing.assert_close(log_det, net.log_s.sum().expand(5))
