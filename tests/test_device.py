"""What a GPU of Apple's can compute: no float64, and no operation that has no kernel there. CUDA is tested where it is.

`tests/mps_ops.txt` states every operation that training and sampling use; `python -m tests.test_device` writes it anew. That each
has a kernel for MPS is checked against PyTorch's own table of operations.
"""

import importlib.util
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils._python_dispatch import TorchDispatchMode

from genctl import checkpoint, device
from genctl.contract import Family
from genctl.errors import GenctlError
from genctl.maths import noise, sampling
from genctl.training import loop
from genctl.training.ema import EMA
from tests.battery import draw, fake, few
from tests.cases import CASES, case, every_case

LIST = Path(__file__).parent / "mps_ops.txt"
# What only a CPU is asked for: attention and LSTMs have kernels of their own on MPS, and weights are packed for oneDNN on a CPU alone.
OF_THE_CPU = ("_scaled_dot_product_flash_attention_for_cpu", "mkldnn", "profiler.")


class Watch(TorchDispatchMode):
    """Notes the name of every operation, and where float64 tensors come from."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: set[str] = set()
        self.doubles: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = str(func).removeprefix("aten.")
        if not name.startswith(OF_THE_CPU):
            self.ops.add(name)
        outs = out if isinstance(out, tuple | list) else (out,)
        if any(isinstance(t, torch.Tensor) and t.dtype in (torch.float64, torch.complex128) for t in outs):
            self.doubles.add(name)
        return out


@cache
def watched(name: str) -> Watch:
    """A few steps with EMA, clipping and accumulation, then samples and whatever can be encoded, decoded, filled in or predicted."""
    one = case(name)
    plan, spec = one.plan(steps=4, clip=1.0, accumulate=2), one.spec()
    with noise.stream(0, "init"):
        model = checkpoint.build(plan, spec).train()
    with Watch() as watch:
        ema = EMA(model, 0.9)

        def on_step(stage, at, done, logs, seats):
            ema.update(at.step)
            return False

        batches = [fake(spec, 8, i) for i in range(4)]
        loop.fit(model, lambda i: batches[i % 4], loop.Setting(plan.train), on_step)
        model.eval()
        if isinstance(model, Family):
            draw(model, 3)
        with torch.no_grad(), noise.stream(0, "powers"):
            batch = batches[0]
            if hasattr(model, "encode"):
                code = model.encode(batch)
                if hasattr(model, "decode"):
                    model.decode(code, {k: batch.given[k] for k in model.conditions})
            if hasattr(model, "predict"):
                model.predict(batch)
            if hasattr(model, "impute"):
                batch.mask = torch.arange(spec.size).view(1, *spec.shape).expand_as(batch.x) < spec.size // 2
                model.impute(batch, few(type(model)))
    return watch


@pytest.mark.parametrize("name", every_case())
def test_no_float64_on_the_model_s_device(name):
    assert not watched(name).doubles


@pytest.mark.parametrize("name", every_case())
def test_no_operation_outside_the_list(name):
    extra = watched(name).ops - set(LIST.read_text().split())
    assert not extra, f"new operations {sorted(extra)}: see that MPS has them, then python -m tests.test_device"


def test_every_listed_operation_has_a_kernel_for_mps():
    """PyTorch's table says which operations run on MPS, by a kernel of their own or as a composition of others."""
    able = mps_table()
    if not able:
        pytest.skip("this torch ships no table of operations")
    missing = [op for op in LIST.read_text().split() if not able.get(op, False)]
    assert not missing, missing


@cache
def mps_table() -> dict[str, bool]:
    """Operation -> whether it runs on MPS."""
    home = importlib.util.find_spec("torchgen")
    path = Path(home.origin).parent / "packaged/ATen/native/native_functions.yaml" if home and home.origin else None
    if path is None or not path.exists():
        return {}
    entries = yaml.safe_load(path.read_text())
    by_name = {e["func"].split("(")[0]: e for e in entries}

    def able(entry: dict) -> bool:
        keys = {k.strip() for ks in entry.get("dispatch", {}) for k in ks.split(",")}
        if not entry.get("dispatch"):
            delegate = entry.get("structured_delegate")
            return able(by_name[delegate]) if delegate else True  # composite implicit
        return bool({"MPS", "CompositeExplicitAutograd", "CompositeImplicitAutograd", "CompositeExplicitAutogradNonFunctional"} & keys) or (
            "structured_delegate" in entry and able(by_name[entry["structured_delegate"]])
        )

    def generated(name: str) -> bool | None:
        """foo.Tensor_out and foo_ are generated beside foo where the table names only one of them."""
        return able(by_name[name]) if name in by_name else None

    table = {}
    for name in by_name:
        full = name if "." in name else f"{name}.default"
        table[full] = bool(generated(name))
    return table


@pytest.mark.parametrize("name", every_case())
def test_cuda(name):
    """Trains and samples where there is a GPU; a sample does not depend on how many are drawn."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    one, place = case(name), torch.device("cuda")
    plan, spec = one.plan(steps=4), one.spec()
    with noise.stream(0, "init"):
        model = checkpoint.build(plan, spec).to(place).train()
    loop.fit(model, lambda i: fake(spec, 8, i).map(lambda t: t.to(place)), loop.Setting(plan.train, device=place), lambda *step: False)
    if isinstance(model, Family):
        given = {k: fake(spec, 5).given[k] for k in model.conditions}
        x = torch.cat(list(sampling.chunks(model, 5, type(model).Draw(chunk=4), 0, given)))
        assert torch.equal(x[:2], torch.cat(list(sampling.chunks(model, 2, type(model).Draw(chunk=4), 0, given))))


def test_auto_takes_the_best_and_says_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.resolve("auto").device.type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.resolve("auto").why.startswith("auto: cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "a GPU")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device.resolve("auto").device == torch.device("cuda:1")
    assert device.resolve("cuda:1").device == torch.device("cuda:1")
    with pytest.raises(GenctlError, match="has 2 CUDA"):
        device.resolve("cuda:2")


def main() -> None:
    """Writes the list."""
    ops = sorted(set().union(*(watched(name).ops for name in CASES)))
    LIST.write_text("\n".join(ops) + "\n")
    print(f"{len(ops)} operations; without a kernel for MPS: {[op for op in ops if not mps_table().get(op, False)]}")
    print({n: sorted(watched(n).doubles) for n in CASES if watched(n).doubles})


if __name__ == "__main__":
    main()
