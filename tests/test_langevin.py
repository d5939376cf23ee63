"""Langevin's walks against densities that are known."""

import math

import torch

from genctl.maths import ais, langevin, noise

MEAN, STD = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])


def gaussian(x, mean=MEAN, std=STD):
    z = (x - mean) / std
    return -0.5 * z.square().sum(1) - std.log().sum() - len(std) / 2 * math.log(2 * math.pi), -z / std


def test_the_walk_ends_in_the_gaussian_it_climbs():
    """Its stationary variance is sd^2 / (1 - (e / 2 sd)^2) exactly: a large step shows the error that is known, a small one none."""
    for e, sweeps in ((0.5, 600), (0.1, 4000)):
        with noise.stream(0):
            x = langevin.walk(lambda x: gaussian(x)[1], torch.zeros(4000, 2), [e] * sweeps)
        var = STD.square() / (1 - (e / 2 / STD).square())
        assert ((x.mean(0) - MEAN) / STD).abs().max() < 0.06
        torch.testing.assert_close(x.var(0), var, rtol=0.08, atol=0)


def test_a_colder_walk_is_narrower_and_stays_within():
    with noise.stream(0):
        x = langevin.walk(lambda x: gaussian(x)[1], torch.zeros(4000, 2), [0.05] * 4000, temperature=0.25)
        held = langevin.walk(lambda x: gaussian(x)[1], torch.zeros(100, 2), [0.5] * 50, within=(-0.5, 0.5))
    torch.testing.assert_close(x.std(0), STD / 2, rtol=0.1, atol=0)
    assert held.abs().max() == 0.5


def test_the_adjusted_walk_is_exact_at_a_step_where_the_plain_one_is_not():
    """Moves of 0.9: the plain walk's variance in the narrow direction is five times too large."""
    at = (torch.zeros(4000, 2), *gaussian(torch.zeros(4000, 2)))
    with noise.stream(0):
        for _ in range(400):
            *there, log_a = langevin.propose(gaussian, *at, 0.9)
            at = langevin.accept(log_a, tuple(there), at)
    assert ((at[0].mean(0) - MEAN) / STD).abs().max() < 0.06
    torch.testing.assert_close(at[0].std(0), STD, rtol=0.06, atol=0)


def two(x):
    """f of a bridge from N(0, 1) to 3 N(-3, 0.3) + N(3, 0.3), each of mass exp(2)."""
    parts = [gaussian(x, torch.tensor([m]), torch.tensor([0.3])) for m in (-3.0, 3.0)]
    a = torch.stack([parts[0][0] + math.log(3), parts[1][0]]) + 2
    share = a.softmax(0)
    q, dq = standard(x)
    return a.logsumexp(0) - q, share[0, :, None] * parts[0][1] + share[1, :, None] * parts[1][1] - dq


def standard(x):
    return gaussian(x, torch.zeros(1), torch.ones(1))


def test_a_bridge_meets_far_modes_as_often_as_the_density_has_them_and_knows_its_mass():
    with noise.stream(0):
        bridge = langevin.Bridge(standard, two)
        x = bridge.anneal(noise.randn(2000, 1), 200)[0][:, 0]
        assert abs(float((x < 0).float().mean()) - 0.75) < 0.05
        assert abs(float(x[x < 0].std()) - 0.3) < 0.02
        bridge = langevin.Bridge(standard, two)
        log_w = ais.log_weights(bridge.at(noise.randn(2000, 1)), (k / 200 for k in range(201)), bridge.increment, bridge.move)
    value, error = ais.log_mean(log_w)
    assert abs(value - (2 + math.log(4))) < 3 * error
    assert error < 0.1
