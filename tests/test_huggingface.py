"""Models of Hugging Face against networks written out in plain torch: imported, exported, sampled, fine-tuned; and folders that lie.

The same against the real library: tests/oracles/test_transformers.py.
"""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from genctl import checkpoint, durable
from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.autoregressive.gpt import GPT
from genctl.tasks import huggingface, huggingface_out, move
from genctl.tasks.sample import Sampler
from tests import foreign
from tests.battery import build
from tests.faults.tools import here
from tests.foreign import BIASED, GPT2, LLAMA, following

EVERY = pytest.mark.parametrize("config", [GPT2, LLAMA, BIASED], ids=["gpt2", "llama", "llama biased, tied, stretched"])


def silent(text: str) -> None:
    pass


def imported(folder, tmp_path, context=0):
    """The checkpoint that a folder becomes, loaded as any other."""
    out = tmp_path / f"{folder.name}.safetensors"
    move.from_hf(folder, out, context, silent)
    return out, *checkpoint.load(out)[:3]


def behind(begin: int, x: torch.Tensor) -> torch.Tensor:
    """What the other house reads for our x (B, T): begin, x_1 .. x_{T-1}."""
    return torch.cat([torch.full_like(x[:, :1], begin), x[:, :-1]], 1)


def rows(n: int, length: int, vocab: int = 11) -> torch.Tensor:
    return torch.randint(vocab, (n, length), generator=torch.Generator().manual_seed(5))


@EVERY
def test_logits_are_those_of_the_network_written_out(config, tmp_path):
    w = foreign.weights(config)
    _, model, plan, spec = imported(foreign.write(tmp_path / "theirs", config, w), tmp_path)
    x = rows(3, 64)
    assert (spec.shape, spec.vocab, plan.family, plan.model.begin) == ((64,), 11, "gpt", 3)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(x, None), foreign.logits(config, w, behind(3, x)), atol=1e-5, rtol=1e-5)


@EVERY
def test_the_likeliest_fifty_symbols_are_theirs(config, tmp_path):
    w = foreign.weights(config)
    path, *_ = imported(foreign.write(tmp_path / "theirs", config, w), tmp_path)
    sampler = Sampler.load(path)
    drawn = following(sampler, "7 1 0 ", ["temperature=0", "length=53"])
    assert drawn.tolist() == foreign.greedy(config, w, torch.tensor([[3, 7, 1, 0]]), 50)[:, 1:].tolist()


@EVERY
def test_what_comes_in_goes_out_unchanged(config, tmp_path):
    theirs = foreign.write(tmp_path / "theirs", config)
    path, *_ = imported(theirs, tmp_path)
    move.to_hf(path, tmp_path / "back", silent)
    before, after = (load_file(p / "model.safetensors") for p in (theirs, tmp_path / "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    told = json.loads((tmp_path / "back" / "config.json").read_text())
    assert {k: told.get(k) for k in config if k != "rope_scaling"} == {k: v for k, v in config.items() if k != "rope_scaling"}
    again, *_ = imported(tmp_path / "back", tmp_path)
    assert checkpoint.load(again)[1] == checkpoint.load(path)[1]


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ({"positions": "learned", "activation": "gelu", "qk_norm": False, "begin": 2}, "gpt2"),
        ({"positions": "learned", "activation": "gelu_tanh", "qk_norm": False, "begin": 2, "bias": True, "tied": False}, "gpt2"),
        ({"norm": "rms", "activation": "swiglu", "qk_norm": False, "begin": 2, "kv_heads": 1}, "llama"),
        ({"norm": "rms", "activation": "swiglu", "qk_norm": False, "begin": 2, "tied": False, "eps": 1e-3, "base": 100.0}, "llama"),
    ],
)
def test_what_goes_out_comes_in_with_the_same_logits(model, kind, tmp_path):
    spec = Spec(shape=(9,), vocab=7, end=0, media="text", codec={"symbols": list("abcdefg")})
    net, plan = ours({"layers": 2, "heads": 2, "width": 8, **model}, spec)
    tmp_path.joinpath("out").mkdir()
    huggingface_out.write(plan, spec, checkpoint.weights(net), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == kind
    _, back, _, found = imported(tmp_path / "out", tmp_path)
    assert (found.shape, found.vocab, found.end) == ((9,), 7, 0)
    with torch.no_grad():
        torch.testing.assert_close(back.logits(rows(4, 9, 7), None), net.logits(rows(4, 9, 7), None), atol=1e-5, rtol=1e-5)


def ours(model, spec):
    """(model, recipe) with weights that are not as they were laid out."""
    from tests.battery import plan

    net = build(GPT, model, spec).eval()
    for i, p in enumerate(net.parameters()):
        torch.nn.init.normal_(p, std=0.3, generator=torch.Generator().manual_seed(i))
    return net, plan(GPT, model)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"qk_norm": True}, "model.qk_norm must be false"),
        ({"begin": None}, "model.begin must be a symbol"),
        ({"conditions": ["label"]}, "model.conditions must be empty"),
        ({"activation": "relu2"}, "model.activation must be swiglu"),
    ],
)
def test_what_no_layout_can_hold_is_refused_with_the_reason(model, said):
    from tests.battery import plan

    spec = Spec(shape=(9,), vocab=7, given={"label": Spec(shape=(), vocab=3)})
    fits = {"norm": "rms", "activation": "swiglu", "qk_norm": False, "begin": 2}
    with pytest.raises(GenctlError, match=said) as caught:
        huggingface_out.layout_of(plan(GPT, {**fits, **model}), spec)
    assert caught.value.id == "config"


def test_other_families_are_refused():
    from genctl.families.autoregressive.lstm import LSTM
    from tests.battery import plan

    with pytest.raises(GenctlError, match="no layout for family 'lstm'"):
        huggingface_out.layout_of(plan(LSTM, {}), Spec(shape=(9,), vocab=7))


# --- forms of a folder -------------------------------------------------------------------------------------------------------


def shards(folder, config, table=None):
    """A folder of two shards under an index."""
    w = foreign.write(folder, config) and load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    half = len(w) // 2
    parts = [dict(list(w.items())[:half]), dict(list(w.items())[half:])]
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / name)
    listing = {k: name for name, part in zip(names, parts, strict=True) for k in part} | (table or {})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": listing}))
    return folder


def test_shards_are_read_by_their_index(tmp_path):
    whole, cut = (imported(f, tmp_path)[1] for f in (foreign.write(tmp_path / "whole", LLAMA), shards(tmp_path / "cut", LLAMA)))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), cut.parameters(), strict=True))


def test_the_hub_s_gpt2_has_no_prefix_and_old_buffers(tmp_path):
    w = foreign.weights(GPT2)
    bare = {k.removeprefix("transformer."): v for k, v in w.items()}
    bare |= {f"h.{i}.attn.{k}": torch.ones(1, 1, 4, 4) for i in range(2) for k in ("bias", "masked_bias")}
    whole, found = (imported(foreign.write(tmp_path / k, GPT2, v), tmp_path)[1] for k, v in (("whole", w), ("bare", bare)))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), found.parameters(), strict=True))


def test_half_precision_becomes_float32(tmp_path):
    w = {k: v.bfloat16() for k, v in foreign.weights(LLAMA).items()}
    _, model, *_ = imported(foreign.write(tmp_path / "theirs", LLAMA, w), tmp_path)
    assert torch.equal(model.embed.weight, w["model.embed_tokens.weight"].float())


def test_a_shorter_context_takes_the_first_positions(tmp_path):
    _, model, _, spec = imported(foreign.write(tmp_path / "theirs", GPT2), tmp_path, context=10)
    assert spec.shape == (10,)
    x, w = rows(2, 10), foreign.weights(GPT2)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(x, None), foreign.gpt2(GPT2, w, behind(3, x)), atol=1e-5, rtol=1e-5)


def test_a_folder_of_the_cache_of_links_is_read(tmp_path):
    theirs = foreign.write(tmp_path / "blobs", LLAMA)
    (tmp_path / "snapshot").mkdir()
    for file in theirs.iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    assert imported(tmp_path / "snapshot", tmp_path)[3].vocab == 11


@pytest.fixture
def tokenizer():
    """The text of a tokenizer.json of byte pairs, 300 symbols, as GPT-2's is made; <|end|> is the last."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.ByteLevelBPETokenizer()
    made.train_from_iterator(["to be or not to be, that is the question"] * 9, vocab_size=299, show_progress=False)
    made.add_special_tokens(["<|end|>"])
    return made.to_str()


def test_a_prompt_goes_through_the_model_s_own_tokenizer(tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = __import__("tokenizers").Tokenizer.from_str(tokenizer).encode("to be, or").ids
    config = {**GPT2, "vocab_size": 300, "bos_token_id": 280, "eos_token_id": 280}
    w = foreign.weights(config)
    (foreign.write(tmp_path / "theirs", config, w) / "tokenizer.json").write_text(tokenizer)
    here("import", "theirs")
    sampler = Sampler.load("theirs.safetensors")
    drawn = following(sampler, "to be, or", ["temperature=0", f"length={len(ids) + 20}"])
    wanted = foreign.greedy(config, w, torch.tensor([[280, *ids]]), 20)[0, 1:].tolist()
    wanted = wanted if 280 not in wanted else wanted[: wanted.index(280)]
    assert drawn[0, : len(wanted)].tolist() == wanted
    here("sample", "--ckpt", "theirs.safetensors", "--prompt", "to be, or", "-n", 1, "length=20", "--out", "s")
    assert (tmp_path / "s" / "samples.txt").read_text().startswith("to be, or")
    here("export", "--ckpt", "theirs.safetensors", "--to", "hf", "--out", "out")
    assert json.loads((tmp_path / "out" / "tokenizer.json").read_text()) == json.loads(tokenizer)
    told = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert (told["bos_token"], told["eos_token"]) == (sampler_names(tokenizer)[280],) * 2


def sampler_names(tokenizer: str) -> list[str]:
    from genctl.media import _tokenizer

    return _tokenizer.names(tokenizer)


def test_a_text_in_the_model_s_own_symbols_fine_tunes_it(tokenizer, tmp_path, monkeypatch):
    """`data.tokenizer` names the folder's file; then every tensor fits, the embedding too."""
    monkeypatch.chdir(tmp_path)
    vocab = len(sampler_names(tokenizer))
    config = {**GPT2, "vocab_size": vocab, "bos_token_id": vocab - 1, "eos_token_id": vocab - 1}
    (foreign.write(tmp_path / "theirs", config) / "tokenizer.json").write_text(tokenizer)
    here("import", "theirs", "--context", 16)
    (tmp_path / "mine.txt").write_text("to be or not to be, that is the question\n" * 40)
    model = checkpoint.load(tmp_path / "theirs.safetensors")[1].plain()["model"]
    data = {"name": "text", "path": "mine.txt", "length": 16, "tokenizer": "theirs/tokenizer.json"}
    (tmp_path / "r.yaml").write_text(json.dumps({"family": "gpt", "data": data, "model": model, "train": {"steps": 2, "batch": 4}}))
    done = here("train", "r.yaml", "--init-from", "theirs.safetensors", "--out", "run", "--device", "cpu")
    assert "28 of 28 tensors taken over" in done.err


# --- hostile folders ---------------------------------------------------------------------------------------------------------


def refused(folder, id: str, said: str, context: int = 0) -> None:
    with pytest.raises(GenctlError, match=said) as caught:
        huggingface.read(folder, context)
    assert caught.value.id == id
    assert len(caught.value.lines) <= 10


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt"])
def test_a_folder_of_pickles_is_refused_unread(name, tmp_path):
    foreign.write(tmp_path / "theirs", GPT2)
    (tmp_path / "theirs" / "model.safetensors").unlink()
    (tmp_path / "theirs" / name).write_bytes(pickle.dumps({"a": 1}))
    refused(tmp_path / "theirs", "ckpt-format", "a pickle .*can run code")


def test_a_pickle_by_the_name_of_a_safetensors_file_is_refused(tmp_path):
    theirs = foreign.write(tmp_path / "theirs", GPT2)
    (theirs / "model.safetensors").write_bytes(pickle.dumps({"a": list(range(99))}))
    refused(theirs, "ckpt-format", "a Python pickle")


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "model.bin", 5, None])
def test_an_index_that_leads_elsewhere_is_refused(name, tmp_path):
    save_file({"lm_head.weight": torch.zeros(11, 16)}, tmp_path / "outside.safetensors")
    refused(shards(tmp_path / "theirs", LLAMA, {"lm_head.weight": name}), "ckpt-meta", "index.json: ")


def test_a_missing_shard_is_said(tmp_path):
    theirs = shards(tmp_path / "theirs", LLAMA)
    (theirs / "model-00002-of-00002.safetensors").unlink()
    refused(theirs, "no-input", "no such file: .*00002")


def test_a_shard_without_the_tensor_it_is_said_to_hold_is_refused(tmp_path):
    refused(
        shards(tmp_path / "theirs", LLAMA, {"model.ghost": "model-00001-of-00002.safetensors"}), "ckpt-content", "'model.ghost' is not in"
    )


BAD = {
    "no model_type": ({"model_type": None}, "ckpt-format", "not one that genctl reads"),
    "another model_type": ({"model_type": "mamba"}, "ckpt-format", "'mamba' is not one that genctl reads: .*gpt2, llama"),
    "a model_type that is no text": ({"model_type": ["gpt2"]}, "ckpt-format", "not one that genctl reads"),
    "a model_type that would be a path": ({"model_type": "../../evil"}, "ckpt-format", "not one that genctl reads"),
    "a huge width": ({"n_embd": 2**40}, "ckpt-meta", "n_embd: expected a whole number"),
    "a wide model": ({"n_embd": 2**20}, "ckpt-meta", "model.width"),
    "many layers": ({"n_layer": 10**6}, "ckpt-meta", "model.layers"),
    "more layers than there are": ({"n_layer": 3}, "ckpt-content", "missing: transformer.h.2"),
    "fewer layers than there are": ({"n_layer": 1}, "ckpt-content", "unexpected: transformer.h.1"),
    "another vocabulary": ({"vocab_size": 12}, "ckpt-content", "other shape: transformer.wte.weight"),
    "a negative number": ({"n_head": -2}, "ckpt-meta", "n_head"),
    "text for a number": ({"n_layer": "2"}, "ckpt-meta", "n_layer: expected a whole number from 1, got '2'"),
    "true for a number": ({"n_layer": True}, "ckpt-meta", "n_layer"),
    "heads that do not divide": ({"n_head": 3}, "ckpt-meta", "do not divide width"),
    "not a number": ({"layer_norm_epsilon": float("nan")}, "ckpt-meta", "layer_norm_epsilon"),
    "another activation": ({"activation_function": "mish"}, "ckpt-meta", "activation_function: expected gelu_new or"),
    "another scale": ({"scale_attn_by_inverse_layer_idx": True}, "ckpt-meta", "scale_attn_by_inverse_layer_idx"),
    "no symbol to begin with": ({"bos_token_id": 50256, "eos_token_id": None}, "ckpt-meta", "has to stand before a text"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_config_that_lies_is_one_clear_error(name, tmp_path):
    change, id, said = BAD[name]
    refused(foreign.write(tmp_path / "theirs", {**GPT2, **change}, foreign.weights(GPT2)), id, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"head_dim": 8}, "4 heads of 8 dimensions do not make up the width 16"),
        ({"num_attention_heads": 32}, "head_dim"),
        ({"num_key_value_heads": 3}, "into groups"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "relu"}, "hidden_act: expected silu"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_type: expected default or llama3, got 'yarn'"),
        ({"rope_scaling": {"type": "dynamic"}}, "rope_type"),
        ({"rope_scaling": [1]}, "rope_scaling: expected an object"),
        ({"rope_theta": 0.5}, "model.base"),
    ],
)
def test_what_our_llama_does_not_compute_is_refused(change, said, tmp_path):
    refused(foreign.write(tmp_path / "theirs", {**LLAMA, **change}, foreign.weights(LLAMA)), "ckpt-meta", said)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"model_type": "gpt2"}', "\xff"])
def test_a_config_that_is_none_is_refused(text, tmp_path):
    theirs = foreign.write(tmp_path / "theirs", GPT2)
    (theirs / "config.json").write_bytes(text.encode("latin-1"))
    refused(theirs, "ckpt-meta", "config.json")


def test_weights_that_are_not_finite_or_quantised_are_refused(tmp_path):
    w = foreign.weights(GPT2)
    w["transformer.wpe.weight"][0, 0] = torch.inf
    refused(foreign.write(tmp_path / "inf", GPT2, w), "ckpt-content", "not finite")
    refused(foreign.write(tmp_path / "int", GPT2, {k: v.to(torch.int8) for k, v in w.items()}), "ckpt-content", "holds I8")


def test_a_context_longer_than_the_model_s_is_refused(tmp_path):
    refused(foreign.write(tmp_path / "theirs", GPT2), "usage", "64 symbols at most", context=65)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "not a JSON object"),
        ("{}", "not a tokenizer with a vocabulary"),
        ('{"model": {"vocab": {"a": 11}}}', "has a symbol 11, the model has 11"),
        ('{"model": {"vocab": {"a": -1}}}', "not a tokenizer"),
        ('{"model": {"vocab": 3}}', "not a tokenizer"),
    ],
)
def test_a_tokenizer_of_another_model_is_refused(text, said, tmp_path):
    theirs = foreign.write(tmp_path / "theirs", GPT2)
    (theirs / "tokenizer.json").write_text(text)
    refused(theirs, "ckpt-meta", said)


# --- the commands ------------------------------------------------------------------------------------------------------------


def test_import_sample_fine_tune_export(tmp_path, monkeypatch):
    """The way of a model through the house: in, drawn from, trained on with its own settings, out again."""
    monkeypatch.chdir(tmp_path)
    foreign.write(tmp_path / "theirs", LLAMA)
    assert "warning[tokenizer]" in here("import", "theirs", "--from", "hf").err
    assert "7 1 " in here("sample", "--ckpt", "theirs.safetensors", "--prompt", "7 1 ", "-n", 1, "length=5", "--out", "s").out
    here("import", "theirs", rc=73, id="out-exists")
    (tmp_path / "mine.txt").write_text("abcdefghijk" * 40)
    recipe = checkpoint.load(tmp_path / "theirs.safetensors")[1].plain()
    tree = {"family": "gpt", "data": {"name": "text", "path": "mine.txt", "length": 64}, "model": recipe["model"]}
    (tmp_path / "r.yaml").write_text(json.dumps({**tree, "train": {"steps": 2, "batch": 4}}))
    done = here("train", "r.yaml", "--init-from", "theirs.safetensors", "--out", "run", "--device", "cpu")
    assert "15 of 15 tensors taken over" in done.err
    here("export", "--ckpt", "run", "--to", "hf", "--out", "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    here("export", "--ckpt", "run", "--to", "hf", "--out", "out", rc=73, id="out-exists")
    here("export", "--ckpt", "run", "--out", "lone.safetensors")
    assert (tmp_path / "lone.safetensors").read_bytes() == durable.locate(tmp_path / "run", print).read_bytes()
    here("export", "--ckpt", "run", "--to", "onnx", "--out", "x", rc=2, id="usage")
    here("import", "theirs", "--from", "x", rc=2, id="usage")
    here("import", "absent", rc=66, id="no-input")


def test_an_export_that_is_refused_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here("train", "gpt-grammar", "train.steps=1", "model.layers=1", "--out", "run", "--device", "cpu")
    done = here("export", "--ckpt", "run", "--to", "hf", "--out", "out", rc=78, id="config")
    assert "model.qk_norm must be false" in done.err
    assert not (tmp_path / "out").exists()
