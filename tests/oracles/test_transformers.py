"""Import and export against the real transformers: logits and generation equal both ways, on random weights.

Run it with transformers on the path: pip install --no-deps --target DIR transformers; PYTHONPATH=DIR pytest -m oracle. It needs
huggingface_hub, tokenizers, regex and tqdm as well.
"""

import importlib
import importlib.util
import os
import warnings

import pytest
import torch

from genctl import checkpoint
from genctl.contract import Spec
from genctl.families.autoregressive.gpt import GPT
from genctl.maths import decoding
from genctl.tasks import huggingface, move
from genctl.tasks.sample import Sampler
from tests import foreign
from tests.battery import build, plan
from tests.foreign import following

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def hf():
    """The module transformers, skipped where it is not installed."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("needs transformers")
    os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_OFFLINE="1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("transformers")
    module.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    return module


def gpt2(hf, **more):
    size = {"n_layer": 3, "n_head": 4, "n_embd": 32, "vocab_size": 97, "n_positions": 64, "bos_token_id": 5, "eos_token_id": None}
    return hf.GPT2LMHeadModel(hf.GPT2Config(**size, initializer_range=0.1, **more))


def llama(hf, **more):
    size = {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    rest = {"vocab_size": 97, "max_position_embeddings": 64, "bos_token_id": 5, "eos_token_id": None, "initializer_range": 0.1}
    return hf.LlamaForCausalLM(hf.LlamaConfig(**{**size, **rest, **more}))


STRETCHED = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
THEIRS = {
    "gpt2": (gpt2, {}),
    "gpt2, exact gelu, untied, narrow": (gpt2, {"activation_function": "gelu", "tie_word_embeddings": False, "n_inner": 48}),
    "gpt2, squared relu": (gpt2, {"activation_function": "relu2", "layer_norm_epsilon": 1e-3}),
    "llama": (llama, {}),
    "llama 3": (llama, {"rope_parameters": STRETCHED, "rms_norm_eps": 1e-5, "tie_word_embeddings": True}),
    "llama with biases": (llama, {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}),
}


def jittered(model):
    """Biases and gains that are not what they are at the start, where zeros and ones would hide a mistake."""
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p += 0.2 * torch.randn_like(p)
    return model.eval()


def read(model, begin, x):
    """Their logits for our x (B, T): of begin, x_1 .. x_{T-1}."""
    with torch.no_grad():
        return model(torch.cat([torch.full_like(x[:, :1], begin), x[:, :-1]], 1)).logits


@pytest.mark.parametrize("shard", ["5GB", "20KB"])
@pytest.mark.parametrize("name", THEIRS)
def test_theirs_in_and_out_again(name, shard, hf, tmp_path):
    make, more = THEIRS[name]
    theirs = jittered(make(hf, **more))
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size=shard)
    assert (tmp_path / "theirs" / huggingface.INDEX).exists() == (shard == "20KB")
    move.from_hf(tmp_path / "theirs", tmp_path / "m.safetensors", 0, print)
    ours = checkpoint.load(tmp_path / "m.safetensors")[0]
    x = torch.randint(97, (3, 64))
    wanted = read(theirs, 5, x)
    with torch.no_grad():
        assert (ours.logits(x, None) - wanted).abs().max() < 1e-5
    move.to_hf(tmp_path / "m.safetensors", tmp_path / "back", print)
    back = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "back").eval()
    assert type(back) is type(theirs)
    assert (read(back, 5, x) - wanted).abs().max() < 1e-5
    sampler = Sampler.load(tmp_path / "m.safetensors")
    drawn = following(sampler, "9 8 7 ", ["temperature=0", "length=53"])
    said = theirs.generate(torch.tensor([[5, 9, 8, 7]]), max_new_tokens=50, do_sample=False)
    assert drawn.tolist() == said[:, 1:].tolist()


OURS = {
    "gpt2": {"positions": "learned", "activation": "gelu", "bias": True},
    "gpt2 without biases": {"positions": "learned", "activation": "relu2", "tied": False},
    "llama": {"norm": "rms", "activation": "swiglu", "tied": False},
    "llama, grouped, tied, biased, stretched": {
        **{"norm": "rms", "activation": "swiglu", "kv_heads": 1, "bias": True},
        **{"eps": 1e-3, "base": 50.0, "stretch": {"factor": 3.0, "length": 32}},
    },
}


@pytest.mark.parametrize("name", OURS)
def test_ours_out(name, hf, tmp_path):
    """Logits equal, the tokenizer of characters is theirs, and so are the fifty likeliest symbols."""
    settings = {"layers": 2, "heads": 4, "width": 32, "qk_norm": False, "begin": 0, **OURS[name]}
    letters = ["\n", *"abcdefghijklmnopqrstuvwxyz .,é"]
    spec = Spec(shape=(64,), vocab=len(letters), media="text", codec={"symbols": letters})
    net = build(GPT, settings, spec).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    recipe = plan(GPT, settings)
    (tmp_path / "m.safetensors").write_bytes(checkpoint.pack(checkpoint.weights(net), checkpoint.describe(recipe, spec, 1)))
    move.to_hf(tmp_path / "m.safetensors", tmp_path / "out", print)
    theirs = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    x = torch.randint(len(letters), (3, 64))
    with torch.no_grad():
        assert (read(theirs, 0, x) - net.logits(x, None)).abs().max() < 1e-5
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path / "out")
    prompt = "to be, or\nnot é"
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    assert tokenizer.decode(ids[0, 1:]) == prompt
    sampler = Sampler.load(tmp_path / "m.safetensors")
    drawn = following(sampler, prompt, ["temperature=0", f"length={len(prompt) + 45}"])
    said = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=45, do_sample=False)
    assert drawn.tolist() == said[:, 1:].tolist()


# --- BERT and T5 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "BertForPreTraining"])
def test_bert_in_and_out_again(kind, hf, tmp_path):
    size = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 56, "max_position_embeddings": 40}
    theirs = jittered(getattr(hf, kind)(hf.BertConfig(**size, vocab_size=29, initializer_range=0.1)))
    theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "tokenizer.json").write_text(foreign.tokenizer({"vocab_size": 26}, {"[CLS]": 26, "[SEP]": 27, "[MASK]": 28}))
    move.from_hf(tmp_path / "theirs", tmp_path / "m.safetensors", 0, print)
    ours = checkpoint.load(tmp_path / "m.safetensors")[0]
    x = torch.randint(26, (3, 39))
    x[0, 10:], x[1, 38:], x[:, 2] = 27, 27, 28  # [SEP] and padding, and a symbol that is hidden
    seen = decoding.live(x, 27)
    ids, mask = torch.nn.functional.pad(x, (1, 0), value=26), torch.nn.functional.pad(seen, (1, 0), value=True)
    move.to_hf(tmp_path / "m.safetensors", tmp_path / "back", print)
    back = hf.AutoModelForMaskedLM.from_pretrained(tmp_path / "back").eval()
    with torch.no_grad():
        found = ours.logits(ours.read(x, seen))[seen]
        for model in (theirs, back):
            out = model(ids, attention_mask=mask.long())
            wanted = (out.logits if hasattr(out, "logits") else out.prediction_logits)[:, 1:][seen]
            assert (found - wanted)[:, [i for i in range(29) if i != 27]].abs().max() < 1e-5
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert tokenizer.mask_token_id == 28 and tokenizer("abc").input_ids == [0, 1, 2]


def t5(hf, **more):
    size = {"d_model": 32, "d_kv": 8, "num_heads": 4, "d_ff": 56, "num_layers": 2, "vocab_size": 37}
    model = hf.T5ForConditionalGeneration(hf.T5Config(**size, decoder_start_token_id=0, initializer_factor=1.0, **more)).eval()
    for name, p in model.named_parameters():
        if "relative" in name:
            torch.nn.init.normal_(p)
    return jittered(model)


@pytest.mark.parametrize("act", ["relu", "gated-gelu", "gated-silu"])
def test_t5_in_and_out_again(act, hf, tmp_path):
    theirs = t5(hf, feed_forward_proj=act)
    theirs.save_pretrained(tmp_path / "theirs")
    move.from_hf(tmp_path / "theirs", tmp_path / "m.safetensors", 0, print)
    ours = checkpoint.load(tmp_path / "m.safetensors")[0]
    source, x = torch.randint(2, 37, (3, 200)), torch.randint(2, 37, (3, 150))
    source[0, 50:], source[1, 199:] = 1, 1
    seen = decoding.live(source, 1)
    move.to_hf(tmp_path / "m.safetensors", tmp_path / "back", print)
    back = hf.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "back").eval()
    ids = torch.nn.functional.pad(x[:, :-1], (1, 0))
    with torch.no_grad():
        found = ours.logits(x, {"source": source})
        for model in (theirs, back):
            wanted = model(input_ids=source, attention_mask=seen.long(), decoder_input_ids=ids).logits
            assert (found - wanted).abs().max() < 1e-5 * max(1.0, float(wanted.abs().max()))
        drawn = ours.sample(3, type(ours).Draw(temperature=0, length=51), {"source": source})
        said = theirs.generate(source, attention_mask=seen.long(), max_new_tokens=51, do_sample=False)[:, 1:]
    for mine, other in zip(drawn.tolist(), said.tolist()):
        stop = mine.index(1) + 1 if 1 in mine else len(mine)
        assert mine[:stop] == other[:stop]
