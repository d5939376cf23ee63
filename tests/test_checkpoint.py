"""One file and a folder of them: layout, seal, description, retention. Faults are in tests/faults."""

import json

import pytest
import safetensors.torch
import torch

from genctl import checkpoint, durable, header
from genctl.errors import GenctlError
from genctl.training.trainer import Trainer
from tests.cases import train_case
from tests.faults.tools import here

KINDS = {
    "f64": torch.randn(3, dtype=torch.float64), "f32": torch.randn(2, 3), "f16": torch.randn(5).half(), "bf16": torch.randn(5).bfloat16(),
    "i64": torch.arange(4), "i32": torch.arange(3, dtype=torch.int32), "i16": torch.arange(3, dtype=torch.int16),
    "i8": torch.arange(3, dtype=torch.int8), "u8": torch.arange(7, dtype=torch.uint8), "bool": torch.tensor([True, False, True]),
    "empty": torch.zeros(0, 4), "scalar": torch.tensor(2.5), "turned": torch.randn(3, 4).T,
}  # fmt: skip
META = {"format": 1, "family": "vae", "step": 3, "words": 'é 🎲 " \\ '}


def test_every_dtype_comes_back(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(checkpoint.pack(KINDS, META))
    head, found = checkpoint.unpack(path)
    assert head.meta == META
    assert found.keys() == KINDS.keys()
    for k, v in KINDS.items():
        assert found[k].dtype == v.dtype
        assert torch.equal(found[k], v)


def test_other_readers_of_safetensors_read_it():
    data = checkpoint.pack(KINDS, META)
    found = safetensors.torch.load(data)
    assert all(torch.equal(found[k], v) for k, v in KINDS.items())
    start = 8 + int.from_bytes(data[:8], "little")
    tree = json.loads(data[8:start])
    assert start % 8 == 0
    assert all((start + v["data_offsets"][0]) % header.WIDTH[v["dtype"]] == 0 for k, v in tree.items() if k != "__metadata__"), (
        "not aligned"
    )


def test_equal_things_have_equal_bytes():
    backwards = dict(reversed(KINDS.items()))
    assert checkpoint.pack(KINDS, META) == checkpoint.pack(backwards, META)


def test_a_file_says_what_it_is_without_torch(tmp_path):
    model = train_case("vae-mlp", tmp_path / "a", steps=2)
    head = header.read(model)
    assert head.meta["step"] == 2
    assert head.meta["family"] == "vae"
    assert head.meta["recipe"]["train"]["steps"] == 2
    assert head.meta["spec"] == {"shape": [2], "media": "vector"}
    assert len(head.digest) == 64


def test_a_model_file_without_its_seal_is_refused(tmp_path):
    model = train_case("vae-mlp", tmp_path / "a", steps=2)
    head, tensors = checkpoint.unpack(model)
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(b"".join(checkpoint.pieces(tensors, head.meta, seal=False)))
    with pytest.raises(GenctlError, match="checksum"):
        checkpoint.load(bare)


def test_what_a_path_means(tmp_path):
    model = train_case("vae-mlp", tmp_path / "a", steps=3, save_every=1)
    run = tmp_path / "a" / "run"
    for path in (run, model.parent, model):
        assert durable.locate(path, print) == model
    assert durable.steps(run / "checkpoints") == [3, 2, 1]
    durable.retain(run / "checkpoints", 2)
    assert durable.steps(run / "checkpoints") == [3, 2]


def test_the_best_step_is_kept_and_pointed_at(tmp_path, monkeypatch):
    losses = {1: 3.0, 2: 1.0, 3: 2.0, 4: float("nan"), 5: 2.5}
    monkeypatch.setattr(Trainer, "validate", lambda self, done: self.metrics.update(valid_loss=losses[done]))
    home = train_case("vae-mlp", tmp_path / "a", steps=5, save_every=1, keep=1).parent.parent
    assert durable.steps(home) == [5, 2]
    assert durable.best(home) == 2
    assert durable.locate(home / "best", print).resolve() == (home / "step-0000000002" / durable.MODEL).resolve()


def test_a_resumed_run_remembers_its_last_validation(tmp_path):
    whole = train_case("vae-mlp", tmp_path / "a", steps=4, save_every=1, valid_every=2)
    run = whole.parents[2]
    third = run / "checkpoints" / "step-0000000003" / durable.MODEL
    before = third.read_bytes()
    for step in (3, 4):
        durable.discard(run / "checkpoints", step)
    assert "resumed from step 2" in here("train", "--resume", run).err
    assert header.read(third).meta["metrics"]
    assert third.read_bytes() == before


def test_saving_the_same_step_twice_changes_nothing(tmp_path):
    model = train_case("vae-mlp", tmp_path / "a", steps=2)
    home, before = model.parent.parent, model.stat()
    durable.save(home, 2, {}, {})
    assert model.stat() == before


def test_a_description_too_long_is_said():
    with pytest.raises(GenctlError) as caught:
        checkpoint.pack({}, {**META, "long": "x" * 70_000})
    assert caught.value.id == "limit"
