"""BERT and T5 of Hugging Face against networks written out in plain torch: imported, exported, and what they cannot be.

GPT-2 and Llama, and folders that lie, are in tests/test_huggingface.py; the real library in tests/oracles/test_transformers.py.
"""

import json

import pytest
import torch
from safetensors.torch import load_file

from genctl import checkpoint
from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.families.masked.bert import BERT
from genctl.families.translation.seq2seq import Seq2Seq
from genctl.maths import decoding
from genctl.nets.relative import BUCKETS, bucket
from genctl.tasks import huggingface_out, layouts, move
from tests import foreign
from tests.battery import build, plan
from tests.faults.tools import here
from tests.test_huggingface import imported, refused, rows, silent

SPECIAL = {"[MASK]": 4, "[CLS]": 2, "[SEP]": 3}


def bert_folder(path, special=SPECIAL, w=None, **change):
    config = {**foreign.BERT, **change}
    foreign.write(path, config, w)
    if special:
        (path / "tokenizer.json").write_text(foreign.tokenizer(config, special))
    return path


def padded(x, end):
    """Rows with the end somewhere, and behind it; and which symbols of them are looked at."""
    x = x.clone()
    for i, row in enumerate(x):
        row[3 + 2 * i :] = end
    return x, decoding.live(x, end)


def test_bert_s_logits_are_those_of_the_network_written_out(tmp_path):
    """We read x, they [CLS] x; their logits of a place are ours, but for [SEP], which is never told."""
    w = foreign.weights(foreign.BERT)
    _, model, settings, spec = imported(bert_folder(tmp_path / "theirs", w=w), tmp_path)
    assert (spec.shape, spec.end, settings.model.begin, settings.model.mask) == ((12,), 3, 2, 4)
    x, seen = padded(rows(3, 12).clamp(min=5), 3)
    x[:, 1] = 4  # hidden
    with torch.no_grad():
        found = model.logits(model.read(x, seen))
        first = torch.full_like(x[:, :1], 2)
        wanted = foreign.bert(foreign.BERT, w, torch.cat([first, x], 1), torch.cat([first > 0, seen], 1))[:, 1:]
    told = [i for i in range(11) if i != 3]
    torch.testing.assert_close(found[seen][:, told], wanted[seen][:, told], atol=1e-5, rtol=1e-5)


def test_old_names_of_norms_bare_networks_and_heads_that_nobody_needs(tmp_path):
    w = foreign.weights(foreign.BERT)
    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v for k, v in w.items()}
    old |= {"bert.pooler.dense.weight": torch.ones(16, 16), "bert.pooler.dense.bias": torch.ones(16)}
    old |= {"cls.seq_relationship.weight": torch.ones(2, 16), "bert.embeddings.position_ids": torch.arange(13)[None]}
    new, found = (imported(bert_folder(tmp_path / k, w=v), tmp_path)[1] for k, v in (("new", w), ("old", old)))
    assert all(torch.equal(a, b) for a, b in zip(new.parameters(), found.parameters(), strict=True))


def test_bert_goes_out_and_comes_in_again(tmp_path):
    spec = Spec(
        shape=(9,),
        vocab=7,
        end=0,
        media="text",
        codec={"tokenizer": foreign.tokenizer({"vocab_size": 7}, {"[SEP]": 0, "[MASK]": 5, "[CLS]": 1})},
    )
    settings = {"layers": 2, "heads": 2, "width": 8, "norms": "behind", "positions": "learned", "qk_norm": False, "mask": 5, "begin": 1}
    net = build(BERT, settings, spec).eval()
    for i, p in enumerate(net.parameters()):
        torch.nn.init.normal_(p, std=0.3, generator=torch.Generator().manual_seed(i))
    (tmp_path / "out").mkdir()
    huggingface_out.write(plan(BERT, settings), spec, checkpoint.weights(net), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["mask_token"] == "[MASK]"
    _, back, _, found = imported(tmp_path / "out", tmp_path)
    assert (found.shape, found.end) == ((9,), 0)
    x = rows(4, 9, 7)
    with torch.no_grad():
        torch.testing.assert_close(back.context(Batch(x=x)), net.context(Batch(x=x)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_act": "relu"}, "hidden_act: expected gelu"),
        ({"type_vocab_size": 3}, "type_vocab_size"),
        ({"is_decoder": True}, "is_decoder"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"max_position_embeddings": 1}, "max_position_embeddings: expected"),
    ],
)
def test_what_our_bert_does_not_compute_is_refused(change, said, tmp_path):
    refused(bert_folder(tmp_path / "theirs", w=foreign.weights(foreign.BERT), **change), "ckpt-meta", said)


def test_a_bert_without_its_tokenizer_is_refused(tmp_path):
    refused(bert_folder(tmp_path / "theirs", special={}), "ckpt-meta", r"tokenizer.json beside it with a symbol \[MASK\]")


@pytest.mark.parametrize(("keys", "said"), [({}, "norms must be behind; .*mask must be a symbol"), ({"activation": "relu2"}, "activation")])
def test_a_bert_that_no_layout_can_hold_is_refused(keys, said):
    with pytest.raises(GenctlError, match=said):
        huggingface_out.layout_of(plan(BERT, {"mask": 1, **keys} if keys else {}), Spec(shape=(9,), vocab=7))


# --- T5 ----------------------------------------------------------------------------------------------------------------------


def sides(n=3, source=200, target=150):
    """Long enough that far distances share a number."""
    s, seen = padded(rows(n, source).clamp(min=2), 1)
    s[0], seen[0] = rows(1, source).clamp(min=2)[0], True
    return s, seen, rows(n, target).clamp(min=2)


@pytest.mark.parametrize("config", [foreign.T5, foreign.FLAN], ids=["t5", "flan"])
def test_t5_s_logits_are_those_of_the_network_written_out(config, tmp_path):
    """We write x, their decoder reads 0, x_1 .. x_{T-1}; our source is theirs, its end with it."""
    w = foreign.weights(config)
    _, model, settings, spec = imported(foreign.write(tmp_path / "theirs", config, w), tmp_path)
    assert (spec.shape, spec.end, spec.given["source"].shape, settings.model.begin) == ((300,), 1, (300,), 0)
    source, seen, x = sides()
    with torch.no_grad():
        found = model.logits(x, {"source": source})
        wanted = foreign.t5(config, w, source, seen, torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        logits, state = model.start(3, {"source": source})
        steps = [logits[:, None]]
        for t in range(12):
            logits, state = model.step(x[:, t : t + 1], state)
            steps.append(logits)
        logits, state = model.step(x[:, 12:149], state)
        torch.testing.assert_close(torch.cat([*steps, logits], 1), wanted, atol=1e-5, rtol=1e-5)


def test_t5_goes_out_unchanged(tmp_path):
    theirs = foreign.write(tmp_path / "theirs", foreign.T5)
    path, *_ = imported(theirs, tmp_path)
    move.to_hf(path, tmp_path / "back", silent)
    before, after = (load_file(p / "model.safetensors") for p in (theirs, tmp_path / "back"))
    assert before.keys() == after.keys()
    for k in before:
        torch.testing.assert_close(before[k], after[k], atol=0, rtol=1e-6)
    told = json.loads((tmp_path / "back" / "config.json").read_text())
    assert {k: told.get(k) for k in foreign.T5} == foreign.T5


def test_two_embeddings_go_in_but_not_out(tmp_path):
    path, *_ = imported(foreign.write(tmp_path / "theirs", foreign.FLAN), tmp_path)
    with pytest.raises(GenctlError, match=r"model\.tied must be true"):
        move.to_hf(path, tmp_path / "back", silent)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"d_kv": 4}, "2 heads of 4 dimensions do not make up the width 16"),
        ({"relative_attention_num_buckets": 64}, "relative_attention_num_buckets"),
        ({"feed_forward_proj": "gated-mish"}, "feed_forward_proj: expected relu or"),
        ({"layer_norm_epsilon": 1e-5}, "layer_norm_epsilon"),
        ({"decoder_start_token_id": None, "pad_token_id": None}, "has to stand before a text"),
    ],
)
def test_what_our_seq2seq_does_not_compute_is_refused(change, said, tmp_path):
    refused(foreign.write(tmp_path / "theirs", {**foreign.T5, **change}, foreign.weights(foreign.T5)), "ckpt-meta", said)


def test_a_seq2seq_of_other_arithmetic_is_refused():
    spec = Spec(shape=(9,), vocab=7, end=0, given={"source": Spec(shape=(9,), vocab=5, end=0)})
    with pytest.raises(GenctlError, match=r"positions must be relative.*one vocabulary"):
        huggingface_out.layout_of(plan(Seq2Seq, {}), spec)


def test_distances_are_numbered_as_t5_numbers_them():
    ahead = torch.arange(-200, 201)
    both = [int(bucket(a.abs(), BUCKETS // 2)) + (BUCKETS // 2) * int(a > 0) for a in ahead]
    assert both == [foreign.distance_bucket(int(a), True) for a in ahead]
    assert bucket((-ahead).clamp(min=0), BUCKETS).tolist() == [foreign.distance_bucket(int(a), False) for a in ahead]


def test_a_model_of_more_symbols_than_its_tokenizer_fits_a_text(tmp_path, monkeypatch):
    """Tables of T5 and others are padded to a round number; a text knows the tokeniser's symbols alone."""
    monkeypatch.chdir(tmp_path)
    config = {**foreign.T5, "vocab_size": 16, "n_positions": 20}
    (foreign.write(tmp_path / "theirs", config) / "tokenizer.json").write_text(foreign.tokenizer(foreign.T5, {"<pad>": 0, "</s>": 1}))
    (tmp_path / "pairs.csv").write_text("source,target\n" + "cde,edc\nfgh,hgf\n" * 20)
    settings = layouts.known()["t5"].read(layouts.Config(config))[0]
    data = {"name": "text-pairs", "path": "pairs.csv", "length": 12, "source_length": 12}
    tree = {"family": "seq2seq", "data": data, "model": settings, "train": {"steps": 1, "batch": 4, "init_from": "theirs"}}
    (tmp_path / "r.yaml").write_text(json.dumps(tree))
    done = here("train", "r.yaml", "--out", "run", "--device", "cpu")
    assert "tensors taken over" in done.err and "fresh" not in done.err and "warning[symbols]" not in done.err
