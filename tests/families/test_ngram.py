"""ngram: the battery, and its own truth: Kneser-Ney's formulas, written down a second time with dictionaries."""

import itertools
import math
from collections import Counter, defaultdict

import pytest
import torch

from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.families.baseline.ngram import NGram, discounts
from genctl.maths import decoding, noise
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_causal, check_family, check_resume

ROW = Spec(shape=(8,), vocab=5, end=0)
GRID = Spec(shape=(3, 3), vocab=4)
WINDOW = Spec(shape=(6,), vocab=3)
WORDS = "banana bandana cabana nab cab bad dab add dada band canal"


@pytest.mark.parametrize(("order", "spec"), [(1, ROW), (4, ROW), (3, GRID), (3, WINDOW)])
def test_battery(order, spec):
    check_family(NGram, {"order": order, "capacity": 500}, spec)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(NGram, {"order": 3, "capacity": 300}, ROW, tmp_path, cut=cut, steps=8, batch=8)


def counted(model, x, batch=7):
    """Every example once."""
    parts = [x[i : i + batch] for i in range(0, len(x), batch)]
    loop.fit(model, lambda i: Batch(x=parts[i]), loop.Setting(Train(steps=len(parts))), lambda *a: False)
    return model.eval()


def lines(words=WORDS):
    """Words as rows that end, and their Spec."""
    letters = ["", *sorted(set(words) - {" "})]
    rows = [[letters.index(c) for c in w] for w in words.split()]
    size = max(map(len, rows)) + 1
    return torch.tensor([r + [0] * (size - len(r)) for r in rows]), Spec(shape=(size,), vocab=len(letters), end=0)


class Textbook:
    """Chen and Goodman 1999: counts of the highest order, below it how many symbols stand before; None pads a row in front."""

    def __init__(self, grams, order, vocab):
        self.vocab, self.c = vocab, {order: Counter(grams)}
        for n in range(order - 1, 0, -1):
            self.c[n] = Counter(g[1:] for g in self.c[n + 1])
        self.d = {}
        for n, c in self.c.items():
            self.d[n] = [0.0, 0.5, 1.0, 1.5]
            n1, n2, n3, n4 = (sum(v == k for v in c.values()) for k in (1, 2, 3, 4))
            if n1 and n2 and n3:
                y = n1 / (n1 + 2 * n2)
                found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
                if all(0 < f <= i for i, f in enumerate(found, 1)):
                    self.d[n] = [0.0, *found]
        self.behind = {n: defaultdict(dict) for n in self.c}
        for n, c in self.c.items():
            for g, v in c.items():
                self.behind[n][g[:-1]][g[-1]] = v

    def p(self, w, h):
        """h: as many symbols as the highest order has before w."""
        p = 1 / self.vocab
        for n in sorted(self.c):
            context = h[len(h) - (n - 1) :]
            after = self.behind[n].get(context)
            if after:
                total, take = sum(after.values()), lambda v, n=n: self.d[n][min(v, 3)]
                gamma = sum(take(v) for v in after.values()) / total
                p = max(after[w] - take(after[w]), 0) / total + gamma * p if w in after else gamma * p
        return p


def compared(model, book, order, vocab):
    """Both say the same of every symbol in every context of symbols and marks before them."""
    for h in itertools.product([None, *range(vocab)], repeat=order - 1):
        if any(b is None and a is not None for a, b in itertools.pairwise(h)):
            continue
        digits = [vocab if s is None else s for s in h]
        number = torch.tensor(sum(s * model.base ** (order - 2 - i) for i, s in enumerate(digits)))
        found = model.p(number, torch.arange(vocab))
        torch.testing.assert_close(found, torch.tensor([book.p(w, h) for w in range(vocab)]), atol=1e-6, rtol=1e-5)
        assert found.sum().item() == pytest.approx(1, abs=1e-5) and (found > 0).all()


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_whole_rows_are_smoothed_as_the_textbook_says(order):
    x, spec = lines()
    model = counted(build(NGram, {"order": order, "capacity": 200}, spec), x)
    grams = []
    for row in x.tolist():
        marked = [None] * (order - 1) + row[: row.index(0) + 1]
        grams.append([tuple(marked[i : i + order]) for i in range(len(marked) - order + 1)])
    book = Textbook(itertools.chain(*grams), order, spec.vocab)
    compared(model, book, order, spec.vocab)
    nats = [sum(math.log(book.p(g[-1], g[:-1])) for g in row) for row in grams]
    torch.testing.assert_close(model.log_prob(Batch(x=x)), torch.tensor(nats), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_windows_of_a_text_count_every_n_gram_of_it_once(order):
    """Windows at every offset, in any order; of the text's first symbols only those at the end of a window are seen."""
    text = torch.randint(3, (200,), generator=torch.Generator().manual_seed(0))
    text = torch.where(torch.rand(200, generator=torch.Generator().manual_seed(1)) < 0.6, (torch.arange(200) // 2) % 3, text)
    windows = text.unfold(0, 6, 1)[torch.randperm(195, generator=torch.Generator().manual_seed(2))]
    model = counted(build(NGram, {"order": order, "capacity": 200}, WINDOW), windows)
    row = text.tolist()
    grams = [tuple(row[i - order + 1 : i + 1]) for i in range(5, 200)]
    assert int(model.counts.sum()) == 195
    compared(model, Textbook(grams, order, 3), order, 3)


def test_discounts_are_what_the_counts_of_counts_say():
    counts = torch.tensor([1] * 20 + [2] * 8 + [3] * 4 + [4] * 2 + [9])
    y = 20 / (20 + 2 * 8)
    wanted = [1 - 2 * y * 8 / 20, 2 - 3 * y * 4 / 8, 3 - 4 * y * 2 / 4]
    assert discounts(counts) == pytest.approx(wanted)
    assert discounts(torch.tensor([7, 9])) == (0.5, 1.0, 1.5)


def test_of_order_one_it_is_relative_frequencies_less_a_discount():
    """c(w) - D of N, and the rest in equal shares; nothing is said of what stands before."""
    x = torch.tensor([[0] * 6, [0] * 5 + [1], [1] * 6, [2] * 5 + [1]])  # windows whose last symbols are 0, 1, 1, 1
    model = counted(build(NGram, {"order": 1, "capacity": 9}, WINDOW), x)
    rest = (0.5 + 1.5) / 4 / 3
    found = model.p(torch.tensor(0), torch.arange(3))
    torch.testing.assert_close(found, torch.tensor([(1 - 0.5) / 4 + rest, (3 - 1.5) / 4 + rest, rest]))


def test_samples_come_with_their_probability():
    x, spec = lines("ab ab ab aab b ba")
    model = counted(build(NGram, {"order": 3, "capacity": 60}, spec), x)
    check_causal(model, Batch(x=x))
    with torch.no_grad(), noise.stream(0):
        drawn = model.sample(20_000, decoding.Draw())
    wanted = model.log_prob(Batch(x=x)).exp()
    for row, p in zip(x, wanted, strict=True):
        assert (drawn == row).all(1).float().mean().item() == pytest.approx(p.item(), abs=0.012)
    rows = [r for r in itertools.product(range(3), repeat=spec.size) if all(b == 0 for a, b in itertools.pairwise(r) if a == 0)]
    assert model.log_prob(Batch(x=torch.tensor(rows))).exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_it_reads_on_for_ever_and_goes_on_from_a_prompt():
    text = torch.arange(100) % 3
    model = counted(build(NGram, {"order": 4, "capacity": 20}, WINDOW), text.unfold(0, 6, 1))
    x = model.draw(1, decoding.Draw(temperature=0, length=40), None, torch.tensor([[1]]))
    assert x[0].tolist() == [(i + 1) % 3 for i in range(40)]


def test_what_does_not_fit_is_refused():
    with pytest.raises(GenctlError, match="allow 7 at most"):
        build(NGram, {"order": 8}, Spec(shape=(9,), vocab=256))
    with pytest.raises(GenctlError, match="do not fit in windows"):
        build(NGram, {"order": 7}, WINDOW)
    x, spec = lines()
    with pytest.raises(GenctlError, match="more than 10 different 3-grams"):
        counted(build(NGram, {"order": 3, "capacity": 10}, spec), x)
