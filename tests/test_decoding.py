"""Drawing symbol by symbol, on a model whose probabilities are written down: a Markov chain."""

import itertools

import pytest
import torch

from genctl.contract import Spec
from genctl.families.autoregressive.gpt import GPT
from genctl.maths import decoding, narrowing, noise
from genctl.maths.decoding import Draw
from tests.battery import build

INF = float("inf")


class Chain:
    """p(x_1) and p(x_t | x_{t-1}) as tables; the state is the last symbol."""

    def __init__(self, first, table):
        self.first, self.table = torch.tensor(first).log(), torch.tensor(table).log()

    def start(self, n, given):
        return self.first.expand(n, -1), {"last": torch.full((n,), -1)}

    def step(self, tokens, state):
        return self.table[tokens], {"last": tokens[:, -1]}


# greedy begins with 0 and earns 0.5 * 0.4 * 0.4; beginning with 1 earns 0.4 * 0.9 * 0.9
TRAP = Chain([0.5, 0.4, 0.1], [[0.4, 0.3, 0.3], [0.05, 0.9, 0.05], [0.3, 0.3, 0.4]])
LOGITS = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()


def kept(draw):
    return narrowing.narrow(LOGITS, draw).isfinite()[0].tolist()


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (Draw(), [True, True, True, True]),
        (Draw(top_k=2), [False, True, False, True]),
        (Draw(top_k=9), [True, True, True, True]),
        (Draw(top_p=0.35), [False, True, False, False]),
        (Draw(top_p=0.45), [False, True, False, True]),
        (Draw(top_p=0.75), [False, True, True, True]),
        (Draw(top_k=3, top_p=0.7), [False, True, False, True]),  # of the three that are left 4/9, 3/9 and 2/9
        (Draw(top_p=1e-9), [False, True, False, False]),
        (Draw(min_p=0.5), [False, True, True, True]),
        (Draw(min_p=0.6), [False, True, False, True]),
        (Draw(min_p=0.999), [False, True, False, False]),
        (Draw(typical=1e-9), [False, False, False, True]),  # of 1.28 nats are expected; -log 0.3 is 1.2
        (Draw(typical=0.4), [False, False, True, True]),  # then -log 0.2, 1.61
        (Draw(typical=0.6), [False, True, True, True]),  # then -log 0.4, 0.92
        (Draw(top_k=2, typical=1e-9), [False, True, False, False]),  # of 4/7 and 3/7, 0.68 nats are expected; -log 4/7 is 0.56
    ],
)
def test_top_k_and_top_p_keep_exactly_these(draw, expected):
    assert kept(draw) == expected


def test_what_stands_in_the_row_already_grows_less_likely():
    """Logits of 2 and -2 and a penalty of 4 become 0.5 and -8; a penalty that is large enough leaves no symbol to be drawn twice."""
    logits = torch.tensor([[2.0, -2.0, 1.0]])
    assert narrowing.worn(logits, torch.tensor([[True, True, False]]), 4.0).tolist() == [[0.5, -8.0, 1.0]]
    with noise.stream(0):
        x = decoding.rows(TRAP, 200, 3, Draw(repetition=100), window=3, prompt=torch.zeros(200, 1, dtype=torch.long))
    assert all(sorted(row) == [0, 1, 2] for row in x.tolist())


def test_ties_do_not_widen_top_k():
    assert narrowing.narrow(torch.zeros(1, 5), Draw(top_k=2)).isfinite().sum() == 2


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (Draw(), [0.1, 0.4, 0.2, 0.3]),
        (Draw(temperature=0.5), [0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3]),
        (Draw(top_k=2), [0.0, 4 / 7, 0.0, 3 / 7]),
        (Draw(temperature=0), [0.0, 1.0, 0.0, 0.0]),
    ],
)
def test_symbols_come_with_their_probability(draw, expected):
    with noise.stream(0):
        x = decoding.choose(LOGITS.expand(100_000, -1), draw)
    torch.testing.assert_close(torch.bincount(x, minlength=4) / 100_000, torch.tensor(expected), atol=0.006, rtol=0)


def test_rows_come_with_their_probability():
    with noise.stream(0):
        x = decoding.rows(TRAP, 60_000, 2, Draw(), window=2)
    found = torch.bincount(x[:, 0] * 3 + x[:, 1], minlength=9) / 60_000
    torch.testing.assert_close(found, (TRAP.first[:, None] + TRAP.table).exp().flatten(), atol=0.008, rtol=0)


def nats(x):
    return decoding.log_prob(TRAP, x).sum(1)


def test_enough_beams_find_the_likeliest_row_and_greedy_does_not():
    every = torch.tensor(list(itertools.product(range(3), repeat=3)))
    best = every[nats(every).argmax()]
    greedy = decoding.rows(TRAP, 2, 3, Draw(temperature=0), window=3)
    assert greedy.tolist() == [[0, 0, 0]] * 2
    for beams in (2, 3, 9, 50):
        x = decoding.rows(TRAP, 2, 3, Draw(beams=beams), window=3)
        assert x.tolist() == [best.tolist()] * 2
        assert (nats(x) >= nats(greedy)).all()


def test_nothing_follows_an_end():
    with noise.stream(0):
        x = decoding.rows(TRAP, 500, 40, Draw(), window=40, end=2)
    over = (x == 2).cumsum(1) > 0
    assert (x[over] == 2).all()
    assert over[:, -1].any()
    y = decoding.rows(Chain([0.1, 0.1, 0.8], [[0.2, 0.3, 0.5]] * 3), 1, 4, Draw(beams=3), window=4, end=2)
    assert y.tolist() == [[2, 2, 2, 2]]  # a finished row goes on for free


@pytest.mark.parametrize("beams", [1, 2])
def test_rows_begin_with_the_prompt(beams):
    prompt = torch.tensor([[2, 2], [1, 0]])
    with noise.stream(0):
        x = decoding.rows(TRAP, 2, 5, Draw(beams=beams), window=5, prompt=prompt)
        assert torch.equal(x[:, :2], prompt)
        assert x.shape == (2, 5)
        assert torch.equal(decoding.rows(TRAP, 2, 1, Draw(beams=beams), window=5, prompt=prompt), prompt[:, :1])


class Count(Chain):
    """Remembers how many symbols it has read, and refuses more than its window."""

    def __init__(self, window):
        super().__init__([0.5, 0.5], [[0.5, 0.5]] * 2)
        self.window, self.starts = window, 0

    def start(self, n, given):
        self.starts += 1
        return self.first.expand(n, -1), {"read": torch.zeros(n, dtype=torch.long)}

    def step(self, tokens, state):
        read = state["read"] + tokens.shape[1]
        assert (read < self.window).all(), "read more than the window"
        return self.table[tokens], {"read": read}


@pytest.mark.parametrize("window", [1, 2, 5, 8])
@pytest.mark.parametrize("beams", [1, 2])
def test_a_long_row_slides_within_the_window(window, beams):
    model = Count(window)
    with noise.stream(0):
        x = decoding.rows(model, 2, 20, Draw(beams=beams), window=window)
    assert x.shape == (2, 20)
    assert model.starts > 1


def test_the_stream_gives_what_rows_gives():
    with noise.stream(3):
        whole = decoding.rows(TRAP, 2, 6, Draw(), window=6)
    with noise.stream(3):
        pieces = list(decoding.stream(TRAP, 2, 6, Draw(), window=6))
    assert torch.equal(torch.cat(pieces, 1), whole)
    assert [p.shape[1] for p in pieces] == [1] * 6


@pytest.mark.parametrize("window", [4, 5, 8, 40])
def test_a_row_longer_than_a_window_is_scored_to_its_end(window):
    """Against one call a symbol, each told what stands before it from where its window begins."""
    net = build(GPT, {"layers": 1, "heads": 1, "width": 8}, Spec(shape=(window,), vocab=5)).eval()
    row, half = torch.randint(5, (23,), generator=torch.Generator().manual_seed(0)), window // 2
    with torch.no_grad():
        found = decoding.nats(net, row, window)
        for t in range(len(row)):
            first = 0 if t < window else ((t - window) // half + 1) * half
            part = row[None, first : t + 1]
            assert float(found[t]) == pytest.approx(-float(decoding.log_prob(net, part)[0, -1]), abs=1e-5)
