"""Beam search against all rows there are, on models whose every probability depends on all that stands before."""

import itertools

import pytest
import torch
from torch.nn.functional import one_hot

from genctl.maths import beams, decoding, rules
from genctl.maths.decoding import Draw

V, T, END = 3, 4, 0


class Deep:
    """Random probabilities that depend on the whole row before; the state is a number for each row."""

    def __init__(self, seed, vocab=V, sharp=2.0):
        self.table = sharp * torch.randn(9973, vocab, generator=torch.Generator().manual_seed(seed))
        self.steps = 0

    def start(self, n, given):
        here = torch.full((n,), 7) if given is None else 7 + given["label"]
        return self.table[here], {"here": here}

    def step(self, tokens, state):
        self.steps += 1
        here, out = state["here"], []
        for token in tokens.unbind(1):
            here = (here * 131 + token + 1) % 9973
            out.append(self.table[here])
        return torch.stack(out, 1), {"here": here}


def every(end, front=()):
    """All rows of T symbols that begin with `front`; nothing but the end follows an end."""
    rows = [(*front, *rest) for rest in itertools.product(range(V), repeat=T - len(front))]
    return torch.tensor([r for r in rows if end is None or all(b == end for a, b in itertools.pairwise(r) if a == end)])


def score(model, x, alpha, end, given=None, front=0):
    """(B,) the score of rows, of what stands behind their first `front` symbols."""
    nats = decoding.log_prob(model, x, given, end)[:, front:].sum(1)
    live = decoding.live(x, end)
    count = (torch.ones_like(x) if live is None else live.long())[:, front:].sum(1)
    return nats / ((5 + count) / 6) ** alpha


def searched(model, n, width, alpha, end, **keys):
    return beams.search(model, n, T, Draw(beams=width, length_penalty=alpha), window=T, end=end, **keys)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
@pytest.mark.parametrize("end", [None, END])
@pytest.mark.parametrize("seed", range(5))
def test_as_many_beams_as_rows_find_the_best_of_all(seed, end, alpha):
    model, x = Deep(seed), every(end)
    best = x[score(model, x, alpha, end).argmax()]
    found = searched(model, 2, V**T, alpha, end)
    assert found.tolist() == [best.tolist()] * 2


@pytest.mark.parametrize("end", [None, END])
@pytest.mark.parametrize("seed", range(10))
def test_one_beam_is_greedy_and_all_beams_are_no_worse(seed, end):
    model = Deep(seed)
    greedy = decoding.rows(model, 1, T, Draw(temperature=0), window=T, end=end)
    assert torch.equal(searched(model, 1, 1, 0.0, end), greedy)
    assert score(model, searched(model, 1, V**T, 0.0, end), 0.0, end) >= score(model, greedy, 0.0, end)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_prompts_may_differ_in_length_and_what_is_given_is_read(alpha):
    model = Deep(3)
    label = torch.tensor([0, 5, 9, 5])
    fronts = [(1,), (2, 1), (), (1, 2, 2)]
    x, seen = torch.zeros(4, 3, dtype=torch.long), torch.zeros(4, 3, dtype=torch.bool)
    for i, front in enumerate(fronts):
        x[i, : len(front)], seen[i, : len(front)] = torch.tensor(front, dtype=torch.long), True
    found = searched(model, 4, V**T, alpha, END, given={"label": label}, prompt=x, seen=seen)
    for i, front in enumerate(fronts):
        rows = every(END, front)
        beside = {"label": label[i].expand(len(rows))}
        best = rows[score(model, rows, alpha, END, beside, len(front)).argmax()]
        assert found[i].tolist() == best.tolist(), i
        alone = searched(model, 1, V**T, alpha, END, given={"label": label[i : i + 1]}, prompt=x[i : i + 1, : len(front)])
        assert torch.equal(alone[0], found[i])


def test_a_prompt_that_has_ended_is_the_answer():
    found = searched(Deep(0), 2, 4, 0.0, END, prompt=torch.tensor([[1, END], [2, 1]]), seen=torch.tensor([[True, True], [True, False]]))
    assert found[0].tolist() == [1, END, END, END] and found[1, 0] == 2


class Short:
    """Ends at once with probability 0.6; the rest goes on with 1 for ever."""

    def __init__(self):
        self.steps = 0

    def start(self, n, given):
        return torch.tensor([[0.6, 0.4]]).log().expand(n, -1), {"n": torch.zeros(n)}

    def step(self, tokens, state):
        self.steps += 1
        return (one_hot(torch.ones_like(tokens), 2) + 1e-9).log(), state


def test_a_penalty_lets_longer_rows_win_and_the_search_ends_as_soon_as_nothing_can():
    """log 0.6 is -0.51 in one symbol; log 0.4 is -0.92 in 40, which a penalty of 1 divides by 7.5."""
    model = Short()
    row = beams.search(model, 1, 40, Draw(beams=2), window=41, end=0)
    assert row.eq(0).all() and model.steps <= 1
    row = beams.search(model, 1, 40, Draw(beams=2, length_penalty=1.0), window=41, end=0)
    assert row.eq(1).all()


@pytest.mark.parametrize("end", [None, END])
@pytest.mark.parametrize("seed", range(3))
def test_beams_keep_to_a_rule(seed, end):
    """The best of the rows that match: `b*(ab)?` over the symbols a and b (and an end)."""
    import re

    texts = ["", "a", "b"]
    model, pieces = Deep(seed), [t.encode() for t in texts]
    regex = "b*(ab)?" if end is not None else "[ab]*ab"
    rule = rules.pattern(regex, pieces, end)
    rows = every(end)
    matching = [r for r in rows if re.fullmatch(regex, "".join(texts[s] for s in r.tolist())) and (end is not None or 0 not in r.tolist())]
    best = max(matching, key=lambda r: float(score(model, r[None], 0.7, end)))
    assert searched(model, 1, V**T, 0.7, end, rule=rule)[0].tolist() == best.tolist()
