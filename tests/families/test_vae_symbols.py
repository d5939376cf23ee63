"""vae on rows of symbols: the battery, and its own truth: what can be said sums to one, and a code tells its sentence back."""

import itertools

import pytest
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.autoencoder.vae import VAE
from genctl.maths import decoding, noise
from genctl.nets.recurrent import Recurrent
from tests.battery import build, check_family, check_resume, fake

WORDS = Spec(shape=(6,), vocab=5, end=0, media="text")
TOLD = Spec(shape=(4,), vocab=5, given={"label": Spec(shape=(), vocab=3)})
LSTM = {"network": "lstm", "hidden": [8], "latent": 2, "importance": 3}
ATTENTION = {**LSTM, "network": "transformer", "hidden": [8, 8], "heads": 2}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        ({**LSTM, "word_dropout": 0.3, "kl_warmup": 0.5, "free_bits": 0.1}, WORDS),
        ({**LSTM, "hidden": [8, 6], "conditional": True, "iwae": 2}, TOLD),
        ({**ATTENTION, "word_dropout": 0.3}, WORDS),
    ],
)
def test_battery(model, spec):
    check_family(VAE, model, spec)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(VAE, {**LSTM, "word_dropout": 0.3}, WORDS, tmp_path, cut=cut, steps=8, batch=8)


@pytest.mark.parametrize("model", [LSTM, ATTENTION], ids=["lstm", "transformer"])
def test_step_by_step_as_all_at_once(model):
    """p(x | z) through the cache is what training scores; nothing beyond the end counts."""
    says = build(VAE, model, WORDS).eval().says
    x, z = fake(WORDS, 5).x, torch.randn(5, 2)
    assert (x == 0).any() and (x != 0).any()
    torch.testing.assert_close(decoding.log_prob(says, x, {"z": z}, end=0).sum(1), says.log_prob(x, z), atol=1e-5, rtol=1e-5)


def test_probabilities_of_all_sentences_sum_to_one():
    """With every draw of z the same for each of them: p(x) = E_z p(x | z) is a distribution over what can be said."""
    spec = Spec(shape=(3,), vocab=3, end=0)
    says = build(VAE, LSTM, spec).eval().says
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    every = every[[not any(a == 0 and b != 0 for a, b in itertools.pairwise(row)) for row in every.tolist()]]
    assert len(every) == 1 + 2 + 4 + 8
    assert says.log_prob(every, torch.randn(1, 2).expand(15, 2)).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_what_follows_the_end_is_not_read():
    """A row that goes on with other symbols has the same posterior: padding is a function of the row."""
    model = build(VAE, LSTM, WORDS).eval()
    x = torch.tensor([[1, 2, 0, 0, 0, 0]])
    y = torch.tensor([[1, 2, 0, 3, 4, 1]])
    torch.testing.assert_close(model.encode(Batch(x=x)), model.encode(Batch(x=y)))


def test_a_code_holds_the_sentence():
    """Three words that only z can tell apart, each told back from its code; word dropout counts in training alone."""
    spec = Spec(shape=(4,), vocab=4, end=0)
    model = build(VAE, {**LSTM, "hidden": [16], "word_dropout": 0.5, "beta": 0.1}, spec).train()
    words = torch.tensor([[1, 2, 3, 0], [2, 3, 1, 0], [3, 1, 0, 0]])
    batch = Batch(x=words.repeat(8, 1))
    steps = torch.optim.Adam(model.parameters(), lr=2e-2)
    for step in range(150):
        steps.zero_grad()
        with noise.stream(0, step):
            model.loss(batch, Progress()).total.backward()
        steps.step()
    with torch.no_grad(), noise.stream(1):
        code = model.eval().encode(Batch(x=words))
        assert torch.equal(model.decode(code), words)
        seen = torch.tensor([[True, False, False, False]]).expand(3, 4)
        assert torch.equal(model.impute(Batch(x=words, mask=seen), VAE.Draw(temperature=0.1, sweeps=3)), words)
        drawn = model.sample(300, VAE.Draw())
    assert (drawn[:, None] == words).all(2).any(1).float().mean() > 0.7
    assert torch.equal(torch.unique(drawn[:, 0]), torch.tensor([1, 2, 3]))


def test_a_recurrent_net_goes_on_where_it_stood():
    net, h = Recurrent([3, 4, 5]), torch.randn(2, 6, 3)
    first, state = net.extend(h[:, :4], None)
    then, _ = net.extend(h[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, then], 1), net(h))


@pytest.mark.parametrize(
    ("model", "spec", "said"),
    [
        ({"hidden": [8]}, WORDS, "this data is tokens"),
        (LSTM, Spec(shape=(3,)), "lstm reads tokens"),
        ({**ATTENTION, "hidden": [8, 6]}, WORDS, "one width"),
    ],
)
def test_networks_that_do_not_read_this_data(model, spec, said):
    with pytest.raises(GenctlError, match=said):
        build(VAE, model, spec)
