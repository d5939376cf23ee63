"""cnf: the battery, and its own truths: the trace is autograd's, the solver is of fourth order, its density integrates to one."""

import math

import pytest
import torch

from genctl.contract import Spec
from genctl.families.flow.cnf import CNF, Velocity
from genctl.maths import noise
from genctl.maths.ode import rk4
from tests.battery import check_family, check_resume
from tests.families.flows import GREY, PLANE, ROW, bent, check_inverse, check_mass, label

SMALL = {"hidden": [8], "steps": 2, "finer": 1}


@pytest.mark.parametrize(("model", "spec"), [(SMALL, ROW), ({**SMALL, "exact": 8}, GREY)], ids=["exact trace", "estimated trace"])
def test_battery(model, spec):
    check_family(CNF, model, spec)


def test_battery_given_a_label():
    check_family(CNF, {**SMALL, "conditional": True}, label(ROW))


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(CNF, {**SMALL, "exact": 2}, ROW, tmp_path, cut=cut, steps=8, batch=8)


@pytest.mark.parametrize("size", [1, 3])
def test_it_inverts_and_its_log_determinant_is_that_of_the_jacobian(size):
    check_inverse(bent(CNF, {**SMALL, "steps": 30}, Spec(shape=(size,))), size)


def test_it_inverts_given_a_label():
    net = bent(CNF, {**SMALL, "steps": 30, "conditional": True}, label(ROW))
    check_inverse(net, 3, net.context({"label": torch.tensor([0, 1, 2, 0])}))


def test_the_density_integrates_to_one():
    check_mass(bent(CNF, {**SMALL, "steps": 4}, PLANE, strength=0.1), points=301)


@pytest.mark.parametrize("context", [0, 2])
def test_vectors_are_pushed_by_the_jacobian(context):
    torch.manual_seed(0)
    net = Velocity(3, [7, 5], context).double()
    y, v, beside = torch.randn(4, 3).double(), torch.randn(2, 4, 3).double(), torch.randn(4, context).double() if context else None
    pushed = net(y, v, 0.3, beside)[1]
    for k in range(2):
        exact = torch.autograd.functional.jvp(lambda y: net(y, v[:0], 0.3, beside)[0], y, v[k])[1]
        torch.testing.assert_close(pushed[k], exact)


def test_the_estimated_trace_is_right_on_average():
    net = bent(CNF, {**SMALL, "exact": 0, "steps": 1}, ROW)
    y = torch.randn(1, 3).expand(20_000, 3)
    exact = net.to_noise(y[:1], None)[1]
    with noise.stream(0):
        guess = net.train().to_noise(y, None)[1]
    assert guess.std() > 0
    assert abs(guess.mean() - exact) < 4 * guess.std() / math.sqrt(len(y))


def test_the_solver_is_of_fourth_order():
    """dx/dt = t x, x(0) = 1: x(1) = sqrt(e); half the step, a sixteenth of the error. Backwards it returns."""
    one = torch.ones(1, dtype=torch.float64)
    errors = [abs(float(rk4(lambda t, x: t * x, one, 0.0, 1.0, n)) - math.exp(0.5)) for n in (4, 8)]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.2)
    there = rk4(lambda t, x: t * x, one, 0.0, 1.0, 50)
    torch.testing.assert_close(rk4(lambda t, x: t * x, there, 1.0, 0.0, 50), one)
