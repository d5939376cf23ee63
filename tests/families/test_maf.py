"""maf, and the masked network it stands on: what each output sees, inverses, Jacobians, masses."""

import pytest
import torch

from genctl.contract import Spec
from genctl.families.flow.maf import MAF
from genctl.nets.made import MADE
from tests.battery import check_family, check_resume
from tests.families.flows import GREY, PLANE, ROW, SIZES, bent, check_inverse, check_mass, label

SMALL = {"layers": 2, "hidden": [16]}


@pytest.mark.parametrize("spec", [ROW, GREY], ids=lambda s: s.kind)
def test_battery(spec):
    check_family(MAF, SMALL, spec)


def test_battery_given_a_label():
    check_family(MAF, {**SMALL, "conditional": True}, label(ROW))


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(MAF, SMALL, ROW, tmp_path, cut=cut, steps=8, batch=8)


@SIZES
def test_it_inverts_and_its_log_determinant_is_that_of_the_jacobian(size):
    check_inverse(bent(MAF, SMALL, Spec(shape=(size,))), size)


def test_the_density_integrates_to_one():
    check_mass(bent(MAF, SMALL, PLANE, strength=0.1))


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("context", [0, 2])
def test_an_output_sees_the_inputs_before_it_and_the_context(size, context):
    torch.manual_seed(0)
    net = MADE(size, 2, [12, 12], "tanh", context)
    x, beside = torch.randn(1, size), torch.randn(1, context) if context else None
    sees = torch.autograd.functional.jacobian(lambda x: net(x, beside)[0], x)[:, :, 0]  # (params, D, D)
    assert torch.equal(sees.abs().sum(0) > 0, torch.ones(size, size).tril(-1).bool())
    if beside is not None:
        told = torch.autograd.functional.jacobian(lambda c: net(x, c)[0], beside)[:, :, 0]
        assert (told.abs().sum(0) > 0).all()


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("hidden", [[3], [12, 7], [2, 30, 5]])
def test_growing_gives_what_a_whole_pass_gives(hidden, context):
    """Input after input, each unit once: the same parameters, from a state that no step changes."""
    torch.manual_seed(0)
    net = MADE(6, 2, hidden, "relu", context)
    x, beside = torch.randn(4, 6), torch.randn(4, context) if context else None
    kept = net.begin(4, beside)
    for t in range(6):
        before = [k.clone() for k in kept]
        theta, grown = net.grow(kept, t, x[:, t - 1] if t else None)
        torch.testing.assert_close(theta, net(x, beside)[:, :, t])
        assert all(torch.equal(a, b) for a, b in zip(before, kept))
        kept = grown
