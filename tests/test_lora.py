"""Corrections of low rank: at first nothing, alone in moving, merged in what ships, exact in what resumes; and PEFT's files."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from genctl import checkpoint, durable
from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.autoencoder.vae import VAE
from genctl.families.autoregressive.gpt import GPT
from genctl.maths import decoding
from genctl.recipe import Train
from genctl.tasks import move, peft
from genctl.training import lora
from tests import foreign
from tests.battery import build, check_resume, fake, run_training
from tests.faults.tools import here

ROW = Spec(shape=(12,), vocab=5)
SMALL = {"layers": 2, "heads": 2, "width": 16, "kv_heads": 1, "activation": "swiglu", "tied": False, "bias": True}


def train(**keys):
    return Train.model_validate(keys, strict=False)


def shaken(**how):
    """(a gpt, the same with corrections that are something)."""
    plain, net = build(GPT, SMALL, ROW).eval(), build(GPT, SMALL, ROW).eval()
    torch.nn.init.normal_(plain.head.weight)
    net.load_state_dict(plain.state_dict())
    lora.prepare(net, train(lora={"rank": 3, **how}))
    for i, layer in enumerate(lora.layers(net).values()):
        torch.nn.init.normal_(layer.lora_B, std=0.3, generator=torch.Generator().manual_seed(i))
    return plain, net


def test_at_first_a_correction_is_nothing():
    x, plain, net = fake(ROW, 4).x, build(GPT, SMALL, ROW).eval(), build(GPT, SMALL, ROW).eval()
    lora.prepare(net, train(lora={}))
    assert list(lora.layers(net))[:4] == [f"net.blocks.0.{k}" for k in ("attention.qkv", "attention.out", "up", "down")]
    assert torch.equal(net.logits(x, None), plain.logits(x, None))


def test_merged_is_unmerged_and_a_correction_comes_out_again():
    plain, net = shaken()
    merged = build(GPT, SMALL, ROW).eval()
    merged.load_state_dict(lora.merge(net, net.state_dict()))
    x = fake(ROW, 4).x
    with torch.no_grad():
        assert (net.logits(x, None) - plain.logits(x, None)).abs().max() > 0.1
        for k, layer in lora.layers(net).items():
            w = merged.get_submodule(k).weight
            torch.testing.assert_close(layer.weight, w, atol=1e-6, rtol=1e-6)
            back = lora.corrected(w, layer.lora_A, layer.lora_B, -layer.scale)
            torch.testing.assert_close(back, plain.get_submodule(k).weight, atol=1e-6, rtol=1e-6)
        how = decoding.Draw(temperature=0)  # twelve symbols: behind the eighth the weights are laid out anew
        assert torch.equal(net.sample(3, how), merged.sample(3, how))
        merged.double().load_state_dict(lora.merge(net.double(), net.state_dict()))
        torch.testing.assert_close(net.logits(x, None), merged.logits(x, None), atol=1e-6, rtol=1e-6)


def test_the_gradient_is_that_of_the_merged_matrix():
    """dL/dB = dL/dW A^T scale, dL/dA = scale B^T dL/dW."""
    net, merged = shaken()[1].double(), build(GPT, SMALL, ROW).double()
    merged.load_state_dict(lora.merge(net, net.state_dict()))
    batch = fake(ROW, 6)
    (-net.log_prob(batch).mean()).backward()
    (-merged.log_prob(batch).mean()).backward()
    for k, layer in lora.layers(net).items():
        g = merged.get_submodule(k).weight.grad
        torch.testing.assert_close(layer.lora_B.grad, layer.scale * g @ layer.lora_A.T)
        torch.testing.assert_close(layer.lora_A.grad, layer.scale * layer.lora_B.T @ g)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_only_corrections_and_what_is_kept_move(optimizer):
    torch.manual_seed(0)
    net = build(GPT, SMALL, ROW)
    lora.prepare(net, train(lora={"targets": ["attention.qkv", "blocks.1.down"], "keep": ["head", "net.norm"]}))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    _, report = fit_on(net, 4, optimizer=optimizer)
    moved = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    layers = ["net.blocks.0.attention.qkv", "net.blocks.1.attention.qkv", "net.blocks.1.down"]
    assert moved == {f"{k}.{f}" for k in layers for f in lora.FACTORS} | {"head.weight", "net.norm.weight", "net.norm.bias"}
    assert report.losses[-1]["model/loss"] < report.losses[0]["model/loss"]


def fit_on(net, steps, **keys):
    """The loop on a model that is there already."""
    from genctl.training import loop
    from tests.battery import Quiet

    report, one = Quiet(), fake(net.spec, 16)
    net.train()

    def on_step(stage, at, done, logs, seats):
        report.step(done, steps, {k: float(v) for k, v in logs.items()})
        return False

    loop.fit(net, lambda i: one, loop.Setting(train(steps=steps, batch=16, lr=1e-2, **keys)), on_step)
    return net, report


def test_what_is_frozen_stays():
    net = build(GPT, SMALL, ROW)
    lora.prepare(net, train(freeze=["embed", "net.blocks.0", "qkv.weight"]))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    fit_on(net, 3)
    still = {k for k, v in net.state_dict().items() if torch.equal(v, before[k])}
    first = {k for k in before if k.startswith("net.blocks.0.")}
    assert still == {"embed.weight", "net.blocks.1.attention.qkv.weight", *first}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"lora": {"targets": ["attn"]}}, "no linear layer here is called 'attn'"),
        ({"lora": {"targets": ["embed"]}}, "no linear layer here is called 'embed'"),
        ({"freeze": ["heads"]}, "nothing here is called 'heads'"),
        ({"freeze": ["net", "embed", "head", "first"]}, "nothing is left to train"),
    ],
)
def test_names_that_mean_nothing_are_refused(keys, said):
    with pytest.raises(GenctlError, match=said) as caught:
        lora.prepare(build(GPT, SMALL, ROW), train(**keys))
    assert caught.value.id == "config"


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resume_is_exact(ema, optimizer, tmp_path):
    check_resume(
        GPT, {**SMALL, "dropout": 0.1}, ROW, tmp_path, ema=ema, optimizer=optimizer, lora={"rank": 2, "dropout": 0.1, "keep": ["head"]}
    )


def test_no_family_knows(tmp_path):
    """A VAE of two players' worth of plain layers, without repeated parts."""
    image = Spec(shape=(1, 6, 6), levels=2, media="image")
    check_resume(VAE, {"latent": 2, "hidden": [8]}, image, tmp_path, lora={"rank": 2})


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_what_ships_is_merged_and_what_resumes_is_not(ema, tmp_path):
    step = run_training(GPT, SMALL, ROW, tmp_path / "run", 3, batch=8, lr=0.1, ema=ema, lora={"rank": 2, "keep": ["head"]})
    base = build(GPT, SMALL, ROW).state_dict()
    model = checkpoint.load(step.model)[0]
    kept = checkpoint.unpack(step.resume)[1]
    home, scale, k = "average" if ema else "raw", 16 / 2, "net.blocks.1.up"
    a, b = (kept[f"{home}/{k}.{f}"] for f in lora.FACTORS)
    assert torch.equal(kept[f"raw/{k}.weight"], base[f"{k}.weight"])
    assert b.abs().max() > 0
    torch.testing.assert_close(model.get_submodule(k).weight, base[f"{k}.weight"] + scale * b @ a)
    assert torch.equal(model.embed.weight, base["embed.weight"])


# --- PEFT's files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tuned(tmp_path, monkeypatch, request):
    """(config, folder of the base) of a foreign model that `run` has corrected: model.safetensors, run, adapter."""
    monkeypatch.chdir(tmp_path)
    config = {**request.param, "max_position_embeddings": 16, "n_positions": 16}
    foreign.write(tmp_path / "theirs", config)
    here("import", "theirs", "--out", "base.safetensors")
    (tmp_path / "mine.txt").write_text("abcdefghijk" * 40)
    settings = checkpoint.load(tmp_path / "base.safetensors")[1].plain()["model"]
    keys = {"steps": 3, "batch": 8, "lr": 0.03, "init_from": "theirs", "lora": {"rank": 2, "alpha": 6}}
    tree = {"family": "gpt", "data": {"name": "text", "path": "mine.txt", "length": 16}, "model": settings, "train": keys}
    (tmp_path / "r.yaml").write_text(json.dumps(tree))
    assert "warning[symbols]" in here("train", "r.yaml", "--out", "run", "--device", "cpu").err
    here("export", "--ckpt", "run", "--to", "peft", "--out", "adapter")
    return config


EVERY = pytest.mark.parametrize("tuned", [foreign.GPT2, foreign.LLAMA, foreign.BIASED], indirect=True, ids=["gpt2", "llama", "biased"])


@EVERY
def test_an_adapter_on_its_base_is_what_the_run_ships(tuned, tmp_path):
    here("import", "adapter", "--from", "peft", "--base", "base.safetensors", "--out", "merged.safetensors")
    run, _, _, _ = checkpoint.load(durable.locate(tmp_path / "run", print))
    merged, _, spec, _ = checkpoint.load(tmp_path / "merged.safetensors")
    base = checkpoint.load(tmp_path / "base.safetensors")[0]
    x = torch.randint(11, (3, spec.size))
    assert (base.logits(x, None) - run.logits(x, None)).abs().max() > 1e-2
    torch.testing.assert_close(merged.logits(x, None), run.logits(x, None), atol=1e-5, rtol=1e-5)


@EVERY
def test_an_adapter_has_the_names_and_shapes_of_its_layout(tuned, tmp_path):
    """Merged by hand into the tensors of the other house, it gives there the logits that the run gives here."""
    told, w = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text()), foreign.weights(tuned)
    kept = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    layers = {k.removeprefix("base_model.model.").rpartition(".lora_")[0] for k in kept}
    assert sorted(layers) == sorted(told["target_modules"])
    assert told["fan_in_fan_out"] == (tuned["model_type"] == "gpt2")
    for k in layers:
        a, b = (kept[f"base_model.model.{k}.lora_{f}.weight"] for f in "AB")
        change = told["lora_alpha"] / told["r"] * b @ a
        w[f"{k}.weight"] += change.T if told["fan_in_fan_out"] else change
    run = checkpoint.load(durable.locate(tmp_path / "run", print))[0]
    x = torch.randint(11, (3, 16))
    wanted = foreign.logits(tuned, w, torch.cat([torch.full_like(x[:, :1], 3), x[:, :-1]], 1))
    torch.testing.assert_close(run.logits(x, None), wanted, atol=1e-5, rtol=1e-4)


def test_corrections_of_scaled_matrices_are_scaled_in_theirs(tmp_path, monkeypatch):
    """T5's queries are ours by a factor: so are the factors of a correction."""
    monkeypatch.chdir(tmp_path)
    config = {**foreign.T5, "n_positions": 12}
    (foreign.write(tmp_path / "theirs", config) / "tokenizer.json").write_text(foreign.tokenizer(config, {"<pad>": 0, "</s>": 1}))
    here("import", "theirs", "--out", "base.safetensors")
    (tmp_path / "pairs.csv").write_text("source,target\n" + "cde,edc\nfgh,hgf\n" * 20)
    model = checkpoint.load(tmp_path / "base.safetensors")[1].plain()["model"]
    data = {"name": "text-pairs", "path": "pairs.csv", "length": 12, "source_length": 12}
    keys = {"steps": 3, "batch": 8, "lr": 0.03, "init_from": "theirs", "lora": {"rank": 2}}
    (tmp_path / "r.yaml").write_text(json.dumps({"family": "seq2seq", "data": data, "model": model, "train": keys}))
    here("train", "r.yaml", "--out", "run", "--device", "cpu")
    here("export", "--ckpt", "run", "--to", "peft", "--out", "adapter")
    kept, run = load_file("adapter/adapter_model.safetensors"), checkpoint.load(durable.locate(tmp_path / "run", print))[0]
    w, name = foreign.weights(config), "decoder.block.1.layer.1.EncDecAttention.q"
    a, b = (kept[f"base_model.model.{name}.lora_{f}.weight"] for f in "AB")
    ours = run.net.writer.blocks[1].cross.query.weight
    torch.testing.assert_close((w[f"{name}.weight"] + 8 * b @ a) * 8**0.5, ours, atol=1e-5, rtol=1e-4)
    here("import", "adapter", "--from", "peft", "--base", "base.safetensors", "--out", "merged.safetensors")
    merged = checkpoint.load(tmp_path / "merged.safetensors")[0]
    for (k, p), q in zip(merged.named_parameters(), run.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=1e-4, msg=k)


def test_a_family_without_a_layout_has_adapters_under_its_own_names(tmp_path):
    step = run_training(GPT, SMALL, ROW, tmp_path / "run", 2, batch=8, lora={"targets": ["down"]})
    peft.write(step.path, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert told["target_modules"] == ["net.blocks.0.down", "net.blocks.1.down"]


@pytest.mark.parametrize("case", ["no lora", "lone file", "keep"])
def test_a_run_that_has_no_adapter_says_why(case, tmp_path):
    how = {"lora": {"keep": ["head"]}} if case == "keep" else {} if case == "no lora" else {"lora": {}}
    step = run_training(GPT, SMALL, ROW, tmp_path / "run", 1, batch=8, **how)
    path = step.path
    if case == "lone file":
        path = tmp_path / "lone.safetensors"
        move.to_file(step.path, path, print)
    id, said = {"no lora": ("power", "not trained with train.lora"), "lone file": ("no-input", "lone file"), "keep": ("config", "keep")}[
        case
    ]
    with pytest.raises(GenctlError, match=said) as caught:
        peft.write(path, tmp_path / "out")
    assert caught.value.id == id
    assert not (tmp_path / "out").exists()


A, B = torch.ones(2, 16), torch.ones(16, 2)
STEM = "base_model.model.model.layers.0.self_attn.o_proj"
GOOD = {f"{STEM}.lora_A.weight": A, f"{STEM}.lora_B.weight": B}


@pytest.mark.parametrize(
    ("told", "tensors", "id", "said"),
    [
        ({"peft_type": "IA3"}, GOOD, "ckpt-meta", "peft_type"),
        ({"use_dora": True}, GOOD, "ckpt-meta", "use_dora"),
        ({"bias": "all"}, GOOD, "ckpt-meta", "bias"),
        ({"modules_to_save": ["head"]}, GOOD, "ckpt-meta", "modules_to_save"),
        ({"r": 0}, GOOD, "ckpt-meta", "r: expected"),
        ({"lora_alpha": "1"}, GOOD, "ckpt-meta", "lora_alpha"),
        ({}, {f"{STEM}.lora_A.weight": A}, "ckpt-content", "two factors"),
        ({}, {**GOOD, f"{STEM}.lora_A.weight": torch.ones(3, 16)}, "ckpt-content", "two factors of one rank"),
        (
            {},
            {f"{STEM}.lora_A.weight": torch.ones(2, 9), f"{STEM}.lora_B.weight": B},
            "ckpt-content",
            r"is \(16, 16\) in the base, \(16, 9\)",
        ),
        ({}, {k.replace("layers.0", "layers.9"): v for k, v in GOOD.items()}, "ckpt-mismatch", "no layer 'model.layers.9"),
        ({}, {"evil": A}, "ckpt-content", "'evil' is no factor"),
        ({}, {k: v.long() for k, v in GOOD.items()}, "ckpt-content", "is no factor"),
    ],
)
def test_an_adapter_that_lies_is_one_clear_error(told, tensors, id, said, tmp_path):
    move.from_hf(foreign.write(tmp_path / "theirs", foreign.LLAMA), tmp_path / "base.safetensors", 0, print)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, **told}))
    save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(GenctlError, match=said) as caught:
        peft.merge(tmp_path / "adapter", tmp_path / "base.safetensors")
    assert caught.value.id == id


def test_a_pickled_adapter_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(GenctlError, match="a pickle"):
        peft.read(tmp_path)
