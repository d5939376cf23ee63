"""explain: attention and loss as they are, on a page that no text can break out of."""

import html.parser
import json

import numpy as np
import pytest
import torch
from PIL import Image

from genctl import checkpoint
from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.families.autoregressive.gpt import GPT
from genctl.families.autoregressive.lstm import LSTM
from genctl.families.autoregressive.pixelcnn import PixelCNN
from genctl.families.energy.rbm import RBM
from genctl.families.masked.bert import BERT
from genctl.maths.rollout import rollout
from genctl.media import _heat
from genctl.tasks import explain, portray
from genctl.tasks.sample import Sampler
from tests.battery import build, plan
from tests.faults.tools import here

BYTES = Spec(shape=(80,), vocab=256, media="text", codec={"bytes": True})
SMALL = {"layers": 2, "heads": 2, "width": 8}
EVIL = """<script>alert("1")</script> 'a' & </span>\n<img src=x onerror=y>\u202e"""


def sampler(cls, model, spec, tmp_path):
    net = build(cls, model, spec)
    for i, p in enumerate(net.parameters()):
        torch.nn.init.normal_(p, std=0.4, generator=torch.Generator().manual_seed(i))
    path = tmp_path / "m.safetensors"
    path.write_bytes(checkpoint.pack(checkpoint.weights(net), checkpoint.describe(plan(cls, model), spec, 7)))
    return Sampler.load(path)


def test_rollout_by_hand():
    """Two layers of one head over two vectors: (A2 + 1) / 2 times (A1 + 1) / 2."""
    a = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]], [[[1.0, 0.0], [0.2, 0.8]]]])
    wanted = torch.tensor([[1.0, 0.0], [0.1, 0.9]]) @ torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    torch.testing.assert_close(rollout(a), wanted)
    torch.testing.assert_close(rollout(torch.rand(3, 4, 5, 6, 6).softmax(-1)).sum(-1), torch.ones(3, 6))


@pytest.mark.parametrize(("cls", "model"), [(GPT, SMALL), (GPT, {**SMALL, "begin": 10, "kv_heads": 1}), (LSTM, {"layers": 1, "width": 8})])
def test_the_map_of_the_loss_sums_to_minus_log_prob(cls, model, tmp_path):
    one = sampler(cls, model, BYTES, tmp_path)
    found = explain.explain(one, "to be, or not to be", tmp_path / "out")
    x = torch.tensor([list(b"to be, or not to be")])
    with torch.no_grad():
        assert found["nats"] == pytest.approx(-one.model.log_prob(Batch(x=x)).item(), rel=1e-5)
    arrays = np.load(tmp_path / "out" / "explain.npz")
    assert arrays["nats"].shape == (19,)
    assert arrays["nats"].sum() == pytest.approx(found["nats"], rel=1e-5)
    if cls is GPT:
        assert arrays["attention"].shape == (2, 2, 19, 19)
        assert np.allclose(arrays["attention"].sum(-1), 1, atol=1e-5)
        assert torch.equal(torch.from_numpy(arrays["attention"]), one.model.attention(Batch(x=x))[0])
    else:
        assert "attention" not in arrays


def test_documents_in_one_row_do_not_look_at_each_other():
    net = build(GPT, {**SMALL, "documents": True}, Spec(shape=(8,), vocab=5, separator=0)).eval()
    with torch.no_grad():
        looks = net.attention(Batch(x=torch.tensor([[1, 2, 0, 3, 4, 1, 0, 2]])))
    assert (looks[..., 3:, :3] == 0).all() and (looks[..., 4, 3:5] > 0).all()
    torch.testing.assert_close(looks.sum(-1), torch.ones(looks.shape[:-1]))


@pytest.mark.parametrize("model", [SMALL, {**SMALL, "norms": "behind", "positions": "learned", "begin": 1, "mask": 2}])
def test_a_network_that_looks_to_both_sides_shows_where(model, tmp_path):
    one = sampler(BERT, model, BYTES, tmp_path)
    found = explain.explain(one, "to be, or not", tmp_path / "out")
    assert "nats" not in found
    looks, x = torch.from_numpy(np.load(tmp_path / "out" / "explain.npz")["attention"]), torch.tensor([list(b"to be, or not")])
    size = 13 + ("begin" in model)
    assert looks.shape == (2, 2, size, size)
    torch.testing.assert_close(looks.sum(-1), torch.ones(looks.shape[:-1]))
    block = one.model.net.blocks[0]
    with torch.no_grad():
        h, turn, _ = one.model.net.place(*one.model.begun(x, None))
        q, k, _ = block.attention.project(block.norm1(h), turn)
        by_hand = torch.softmax(k[0, :, 1] @ q[0, 3, 1] / 4**0.5, 0)
    torch.testing.assert_close(looks[0, 1, 3], by_hand)


class Reader(html.parser.HTMLParser):
    """The elements of a page, and the text of its loss map."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.sources: list[str] = []
        self.words, self.inside = [], False

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.inside = tag == "span"
        self.sources += [v for k, v in attrs if k in ("src", "href")]
        assert not [k for k, _ in attrs if k.startswith("on")]

    def handle_data(self, data):
        if self.inside:
            self.words.append(data)
        self.inside = False


@pytest.mark.parametrize("text", [EVIL, "plain"])
def test_the_page_is_whole_by_itself_and_no_text_breaks_out_of_it(text, tmp_path):
    explain.explain(sampler(GPT, SMALL, BYTES, tmp_path), text, tmp_path / "out")
    raw, page = (tmp_path / "out" / "explain.html").read_text(encoding="utf-8"), Reader()
    page.feed(raw)
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "a"})
    assert len(page.sources) == (4 if len(text) < 64 else 6) and all(s.startswith("data:image/png;base64,") for s in page.sources)
    assert len(page.words) == len(text.encode())
    assert "".join(page.words).startswith(text[:20])
    assert "\u202e" not in raw
    assert "default-src 'none'" in raw


def test_symbols_of_a_checkpoint_are_hostile_too(tmp_path):
    spec = Spec(shape=(9,), vocab=2, media="text", codec={"symbols": ["a", "</td><script>x</script>"]})
    explain.explain(sampler(GPT, SMALL, spec, tmp_path), "a</td><script>x</script>a", tmp_path / "out")
    page = Reader()
    page.feed((tmp_path / "out" / "explain.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags


def test_pictures(tmp_path):
    found = explain.explain(sampler(GPT, SMALL, BYTES, tmp_path), "a" * 70, tmp_path / "out")
    names = [p.rsplit("/", 1)[1] for p in found["files"]]
    assert names == ["explain.html", "loss.png", "attention.png", "mean.png", "rollout.png", "explain.npz", "samples.json"]
    for name in names[1:5]:
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.width >= 400
            assert json.loads(picture.text["genctl"])["prompt"] == "a" * 70


def test_colours_run_from_white_to_the_named_one():
    assert torch.equal(_heat.shade(torch.zeros(2), _heat.BLUE), torch.ones(3, 2))
    torch.testing.assert_close(_heat.shade(torch.ones(1), _heat.RED)[:, 0] * 255, torch.tensor([214.0, 39.0, 40.0]))


@pytest.mark.parametrize(
    ("prompt", "id", "said"),
    [("", "usage", "nothing to explain"), ("a" * 81, "prompt-length", "81 symbols, 80 are looked at")],
)
def test_prompts_that_cannot_be_explained(prompt, id, said, tmp_path):
    with pytest.raises(GenctlError, match=said) as caught:
        explain.explain(sampler(GPT, SMALL, BYTES, tmp_path), prompt, tmp_path / "out")
    assert caught.value.id == id


def test_pictures_are_not_explained_by_words(tmp_path):
    spec = Spec(shape=(1, 4, 4), levels=2, media="image")
    with pytest.raises(GenctlError) as caught:
        explain.explain(sampler(PixelCNN, {"layers": 1, "channels": 4, "first": 3}, spec, tmp_path), "a", tmp_path / "out")
    assert caught.value.id == "power"


def test_units_and_chains_are_shown_as_pictures(tmp_path):
    model = sampler(RBM, {"hidden": 6}, Spec(shape=(1, 4, 4), levels=2, media="image"), tmp_path)
    found = portray.portray(model, tmp_path / "out")
    assert found["shown"] == ["filters", "walk"]
    for path in found["files"][:2]:
        with Image.open(path) as picture:
            assert json.loads(picture.text["genctl"])["family"] == "rbm"
    net = model.model
    shown = portray.strongest(net.filters().detach(), 2)
    order = net.w.detach().norm(dim=0).topk(2).indices
    torch.testing.assert_close(shown[0].flatten(), 0.5 + 0.5 * net.w[:, order[0]] / net.w[:, order[0]].abs().max())
    with pytest.raises(GenctlError, match="neither units nor chains"):
        portray.portray(sampler(GPT, SMALL, BYTES, tmp_path), tmp_path / "other")


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here("train", "gpt-grammar", "train.steps=1", "--out", "run", "--device", "cpu")
    prompt = here("sample", "--ckpt", "run", "-n", 1, "--out", "s").out.splitlines()[0][:20].rpartition(" ")[0] + " "
    found = json.loads(here("explain", "--ckpt", "run", "--prompt", prompt, "--out", "why", "--json").out)
    assert found["layers"] >= 1 and found["nats"] > 0
    assert "look at" in here("explain", "--ckpt", "run", "--prompt", prompt, "--out", "why").out
    here("explain", "--ckpt", "run", "--prompt", "~", rc=65, id="prompt-token")
