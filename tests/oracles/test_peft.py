"""Adapters against the real PEFT: it reads ours and computes the same logits, and we merge its own.

Run it with both on the path: pip install --no-deps --target DIR transformers peft accelerate psutil; PYTHONPATH=DIR pytest -m oracle.
"""

import importlib.util
import json

import pytest
import torch

from genctl import checkpoint, durable
from genctl.tasks import move
from tests.faults.tools import here
from tests.oracles.test_transformers import gpt2, hf, jittered, llama, read  # noqa: F401

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs peft"),
]
MODELS = pytest.mark.parametrize("make", [gpt2, llama])


@MODELS
def test_peft_reads_ours(make, hf, tmp_path, monkeypatch):  # noqa: F811
    import peft

    monkeypatch.chdir(tmp_path)
    jittered(make(hf)).save_pretrained("theirs")
    here("import", "theirs", "--out", "base.safetensors")
    (tmp_path / "mine.txt").write_text("".join(chr(0x100 + (i * i + i // 97) % 97) for i in range(9700)))  # 97 characters
    settings = checkpoint.load(tmp_path / "base.safetensors")[1].plain()["model"]
    how = {"rank": 3, "alpha": 5, "targets": ["attention.qkv", "up", "blocks.1"]}
    keys = {"steps": 5, "batch": 8, "lr": 0.03, "init_from": "theirs", "lora": how}
    tree = {"family": "gpt", "data": {"name": "text", "path": "mine.txt", "length": 64}, "model": settings, "train": keys}
    (tmp_path / "r.yaml").write_text(json.dumps(tree))
    here("train", "r.yaml", "--out", "run", "--device", "cpu")
    here("export", "--ckpt", "run", "--to", "peft", "--out", "adapter")
    run = checkpoint.load(durable.locate(tmp_path / "run", print))[0]
    base = hf.AutoModelForCausalLM.from_pretrained("theirs")
    both = peft.PeftModel.from_pretrained(base, "adapter").eval()
    x = torch.randint(97, (3, 64))
    assert (read(both, 5, x) - run.logits(x, None)).abs().max() < 1e-5
    plain = hf.AutoModelForCausalLM.from_pretrained("theirs").eval()
    assert (read(plain, 5, x) - run.logits(x, None)).abs().max() > 1e-2


@MODELS
@pytest.mark.parametrize("rslora", [False, True])
def test_we_merge_theirs(make, rslora, hf, tmp_path):  # noqa: F811
    import peft

    base = jittered(make(hf))
    base.save_pretrained(tmp_path / "theirs")
    move.from_hf(tmp_path / "theirs", tmp_path / "base.safetensors", 0, print)
    layers = ["c_attn", "c_fc"] if make is gpt2 else ["q_proj", "v_proj", "down_proj"]
    how = peft.LoraConfig(r=4, lora_alpha=6, target_modules=layers, use_rslora=rslora, fan_in_fan_out=make is gpt2)
    both = peft.get_peft_model(base, how).eval()
    for name, p in both.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    both.save_pretrained(tmp_path / "adapter")
    move.from_peft(tmp_path / "adapter", tmp_path / "base.safetensors", tmp_path / "merged.safetensors")
    merged = checkpoint.load(tmp_path / "merged.safetensors")[0]
    x = torch.randint(97, (3, 64))
    assert (read(both, 5, x) - merged.logits(x, None)).abs().max() < 1e-5
