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
from genctl.tasks import huggingface, move
from genctl.tasks.sample import Sampler
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
