"""Guesses of a draft, on models whose probabilities are written down: what is drawn is as likely as without, however bad the draft."""

import json

import pytest
import torch

from genctl import cli
from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.autoregressive.gpt import GPT
from genctl.families.autoregressive.rnn import RNN
from genctl.maths import noise, speculative
from genctl.maths.decoding import Draw
from genctl.tasks import train as training
from genctl.tasks.sample import Sampler
from tests.battery import build
from tests.test_decoding import Chain
from tests.test_eval import Quiet

MODEL = Chain([0.5, 0.4, 0.1], [[0.4, 0.3, 0.3], [0.05, 0.9, 0.05], [0.3, 0.3, 0.4]])
BAD = Chain([0.05, 0.05, 0.9], [[0.1, 0.1, 0.8], [0.6, 0.2, 0.2], [0.8, 0.1, 0.1]])
CHI = {2: 9.21, 26: 45.64}  # 1 in 100 lies above, by degrees of freedom


def chi_square(counts: torch.Tensor, p: torch.Tensor) -> float:
    wanted = counts.sum() * p
    return float(((counts - wanted) ** 2 / wanted).sum())


def test_twenty_thousand_guesses_of_a_bad_draft_become_draws_of_the_model():
    p, q = (table.first.exp().expand(20_000, -1) for table in (MODEL, BAD))
    with noise.stream(0):
        guess = noise.categorical(q.log())
        kept, x = speculative.accept(p, q, guess)
    assert torch.equal(x[kept], guess[kept])
    assert abs(float(kept.double().mean()) - float(torch.minimum(p[0], q[0]).sum())) < 0.01
    assert chi_square(torch.bincount(x, minlength=3), p[0]) < CHI[2]


@pytest.mark.parametrize("guesses", [1, 3])
def test_rows_come_with_their_probability(guesses):
    """All 27 rows of three symbols, by a draft that guesses one or three at a time."""
    with noise.stream(guesses):
        x = speculative.rows(MODEL, BAD, 3000, 3, Draw(), guesses)
    p = (MODEL.first[:, None, None] + MODEL.table[:, :, None] + MODEL.table[None]).exp().flatten()
    assert chi_square(torch.bincount(x @ torch.tensor([9, 3, 1]), minlength=27), p) < CHI[26]


def test_narrowed_and_greedy_rows_are_the_model_s():
    with noise.stream(0):
        assert speculative.rows(MODEL, BAD, 2, 4, Draw(temperature=0), 3).tolist() == [[0, 0, 0, 0]] * 2
        x = speculative.rows(MODEL, BAD, 300, 3, Draw(top_k=1, temperature=2), 2)
    assert (x == 0).all()


@pytest.mark.parametrize("cls", [GPT, RNN])
def test_states_of_real_models_are_read_on_and_left_alone(cls):
    """The likeliest row by guesses is the likeliest row, with a good draft and with a bad one, behind a prompt and up to the end symbol."""
    small = {"layers": 1, "heads": 1, "width": 8} if cls is GPT else {"layers": 1, "width": 8}
    for spec in (Spec(shape=(24,), vocab=5), Spec(shape=(24,), vocab=5, end=0)):
        model, draft = (build(cls, small, spec, seed).eval() for seed in (0, 1))
        for p in [*model.parameters(), *draft.parameters()]:
            p.data.mul_(3)
        prompt = torch.tensor([[1, 2, 3]])
        with torch.no_grad(), noise.stream(0):
            for quick in (model, draft):
                for front in (None, prompt):
                    wanted = model.draw(1, Draw(temperature=0), None, front)
                    found = speculative.rows(model, quick, 1, 24, Draw(temperature=0), 3, end=spec.end, prompt=front)
                    assert torch.equal(found, wanted)


def test_beams_are_refused():
    with pytest.raises(GenctlError, match="plain drawing"), noise.stream(0):
        speculative.rows(MODEL, BAD, 1, 3, Draw(beams=2), 2)


def test_guesses_keep_to_what_is_asked_for():
    """Rows that are all of the symbol that is the label, by a draft that knows nothing of labels."""
    spec = Spec(shape=(6,), vocab=3, given={"label": Spec(shape=(), vocab=3)})

    class Told(Chain):
        def start(self, n, given):
            return 50 * torch.nn.functional.one_hot(given["label"], 3).float(), {}

        def step(self, tokens, state):
            return 50 * torch.nn.functional.one_hot(tokens, 3).float(), state

    label = torch.arange(3)
    with noise.stream(0):
        x = speculative.rows(Told([1.0], [[1.0]]), BAD, 3, spec.size, Draw(), 3, given={"label": label})
    assert torch.equal(x, label[:, None].expand(-1, 6))


def test_sample_takes_a_draft(tmp_path, capsys):
    for name, width in (("model", 16), ("draft", 8)):
        sets = [("train.steps=2", None), (f"model.width={width}", None)]
        training.train(training.Request(recipe="lstm-grammar", overrides=sets, out=tmp_path / name, device="cpu"), Quiet())
    call = ["sample", "--ckpt", str(tmp_path / "model"), "--draft", str(tmp_path / "draft"), "-n", "3", "--json", "--device", "cpu"]
    drawn = []
    for out in ("a", "b"):
        with pytest.raises(SystemExit):
            cli.main([*call, "--out", str(tmp_path / out)])
        assert json.loads(capsys.readouterr().out)["n"] == 3
        drawn.append((tmp_path / out / "samples.txt").read_text())
    assert drawn[0] == drawn[1]
    sampler = Sampler.load(tmp_path / "model")
    with pytest.raises(GenctlError, match="not conditional"):
        list(sampler.guessed(sampler, 2, 1, 0, {"label": torch.tensor([1])}))
    sets = [("train.steps=1", None)]
    training.train(training.Request(recipe="memorizer-digits", overrides=sets, out=tmp_path / "other", device="cpu"), Quiet())
    with pytest.raises(SystemExit):
        cli.main([*call[:4], str(tmp_path / "other"), *call[5:], "--out", str(tmp_path / "c")])
    assert json.loads(capsys.readouterr().out)["error"]["id"] == "power"
