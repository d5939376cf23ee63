"""Group C: recipes and flags. Every mistake is named with its place, at most ten at once, and nothing is written."""

import os
import random
import sys
import time
from pathlib import Path

import pytest
import torch

from genctl import config, device, recipe
from genctl.errors import GenctlError
from tests.faults import tools
from tests.faults.tools import TINY, cli, here

GOOD = """\
family: vae
data: {name: digits}
model:
  network: conv
  latent: 8
  hidden: [32, 64]
train:
  steps: 300
  lr: 2e-3
"""


def refused(text: str | bytes, tmp_path: Path, id: str = "config") -> GenctlError:
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(GenctlError) as caught:
        recipe.read(str(path))
    assert caught.value.id == id
    assert len(caught.value.lines) <= 10
    return caught.value


@pytest.mark.parametrize(("text", "place", "key"), [
    ("family: vae\nfamily: gan\n", "c.yaml:2:1", "family"),
    ("train:\n  lr: 1\n  lr: 2\n", "c.yaml:3:3", "lr"),
    ("train: {lr: 1, lr: 2}\n", "c.yaml:1:16", "lr"),
    ("model:\n  a:\n    b: 1\n    b: 2\n", "c.yaml:4:5", "b"),
    ("model: {a: [{b: 1, b: 2}]}\n", "c.yaml:1:20", "b"),
    ("train: {}\n'train': {}\n", "c.yaml:2:1", "train"),
])  # fmt: skip
def test_20_duplicate_keys(text, place, key, tmp_path):
    said = str(refused(text, tmp_path))
    assert f"{place}: key '{key}' appears twice" in said


def hostile() -> dict[str, str]:
    aliases = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)
    )
    merges = "a: &a {x: 1}\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)}\n  <<: [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(20))
    return {
        "alias bomb": aliases,
        "merge bomb": merges,
        "merge key": "train:\n  <<: {lr: 1}\n",
        "python tag": "family: !!python/object/apply:os.system ['touch marker']\n",
        "python name": "family: !!python/name:os.system\n",
        "local tag": "family: !vae\n",
        "binary tag": "family: !!binary aGVsbG8=\n",
        "set": "? a\n? b\n",
        "tag directive": "%TAG ! tag:x,2000:\n---\nfamily: vae\n",
        "two documents": GOOD + "---\nfamily: gan\n",
        "3,000 deep": "a: " + "[" * 3000 + "]" * 3000,
        "100,000 deep": "a: " + "[" * 100_000,
        "deep mappings": "".join("  " * i + f"a{i}:\n" for i in range(500)),
        "2 MB": "# " + "x" * 2**21,
        "256 KB of newlines": "\n" * (256 * 1024 - 1),
        "256 KB of brackets": "[" * (256 * 1024 - 1),
        "256 KB of dashes": "- " * (128 * 1024 - 1),
        "256 KB of quotes": '"' * (256 * 1024 - 1),
        "256 KB of question marks": "? " * (128 * 1024 - 1),
        "200,000 elements": "a: [" + "1," * 110_000 + "1]",
        "many keys": "".join(f"k{i}: 1\n" for i in range(25_000)),
        "long key": "a" * 200_000 + ": 1\n",
        "long number": "train: {lr: " + "1" * 100_000 + "}\n",
        "complex key": "? [a, b]\n: 1\n",
        "a list": "- family: vae\n",
        "a word": "family\n",
        "a tab": "train:\n\tlr: 1\n",
        "unclosed": "train: {lr: 1\n",
        "anchor": "train: &x {lr: 1}\n",
    }


@pytest.mark.parametrize("name", hostile())
def test_21_hostile_files(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, started = tools.resident_mb(), time.process_time()
    refused(hostile()[name], tmp_path)
    assert time.process_time() - started < tools.limit(0.6 if name != "256 KB of newlines" else 1.0)
    assert tools.resident_mb() - before < 64
    assert os.listdir(tmp_path) == ["c.yaml"]


def test_21_mutants(tmp_path, figure):
    """A sound recipe with bytes changed: it is read, or it is a GenctlError; never anything else."""
    dice, number, worst, read = random.Random(0), tools.times(3000), 0.0, 0
    bits = [
        "[",
        "]",
        "{",
        "}",
        ": ",
        "- ",
        "&a ",
        "*a",
        "!",
        "%",
        "|",
        ">",
        "'",
        '"',
        "#",
        "\t",
        "\n",
        "\r",
        "\0",
        "\ufeff",
        "1e999",
        "nan",
        "? ",
        "<<",
        "~",
        "\x85",
        "\u2028",
        "🎲",
    ]
    text = (tools.ROOT / "configs/autoencoder/vae-digits.yaml").read_text()
    for _ in range(number):
        mutant = text
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(mutant) + 1)
            kind = dice.randrange(4)
            if kind == 0:
                mutant = mutant[:at] + dice.choice(bits) + mutant[at:]
            elif kind == 1:
                mutant = mutant[:at] + mutant[at + dice.randint(1, 9) :]
            elif kind == 2:
                start = dice.randrange(len(mutant) + 1)
                mutant = mutant[:at] + mutant[start : start + dice.randint(1, 40)] + mutant[at:]
            else:
                mutant = mutant[:at] + chr(dice.choice([dice.randrange(128), dice.randrange(0xD800)])) + mutant[at + 1 :]
        started = time.process_time()
        try:
            tree = config.parse(mutant, "c.yaml")
            if not tree.mistakes and number <= 3000 and dice.random() < 0.1:  # the typed part costs more; a tenth of them
                recipe.resolve(tree)
            read += 1
        except GenctlError as e:
            assert e.id == "config"  # noqa: PT017
            assert len(e.lines) <= 10  # noqa: PT017
        worst = max(worst, time.process_time() - started)
    figure(f"{number} mutants, 0 leaks, {read} still sound, worst {worst * 1000:.0f} ms")


WRONG = [
    ("train: {lr: fast}", "train.lr"), ("train: {lr: .nan}", "train.lr"), ("train: {lr: nan}", "train.lr"), ("train: {lr: 1e999}", "train.lr"),
    ("train: {lr: -1}", "train.lr"), ("train: {lr: '0.1'}", "train.lr"), ("train: {lr: [0.1]}", "train.lr"), ("train: {lr: }", "train.lr"),
    ("train: {lr: null}", "train.lr"), ("train: {lr: true}", "train.lr"), ("train: {lr: 0x10}", "train.lr"), ("train: {lr: 1_000}", "train.lr"),
    ("train: {steps: 1.5}", "train.steps"), ("train: {steps: 0}", "train.steps"), ("train: {steps: 010}", "train.steps"),
    ("train: {steps: 12:30:45}", "train.steps"), ("train: {steps: true}", "train.steps"), ("train: {steps: '5'}", "train.steps"),
    ("train: {steps: 99999999999999999999}", "train.steps"), ("train: {steps: 2000000000}", "train.steps"), ("train: {steps: {a: 1}}", "train.steps"),
    ("train: {compile: no}", "train.compile"), ("train: {compile: 1}", "train.compile"), ("train: {compile: 'true'}", "train.compile"),
    ("train: {stps: 5}", "train.stps"), ("train: 5", "train"), ("train: [5]", "train"), ("trian: {steps: 5}", "trian"),
    ("train: {optimizer: adamm}", "train.optimizer"), ("train: {optimizer: 5}", "train.optimizer"), ("train: {betas: [0.9]}", "train.betas"),
    ("train: {betas: 0.9}", "train.betas"), ("train: {lr_of: [1]}", "train.lr_of"), ("train: {seed: 9223372036854775808}", "train.seed"),
    ("train: {seed: -1}", "train.seed"), ("model: {latent: 0}", "model.latent"), ("model: {latent: 8.0}", "model.latent"),
    ("model: {hidden: 5}", "model.hidden"), ("model: {hidden: [a]}", "model.hidden.0"), ("model: {nothing: 1}", "model.nothing"),
    ("sample: {chunk: 0}", "sample.chunk"), ("guard: {nonfinite: maybe}", "guard.nonfinite"), ("data: {name: digit}", "data.name"),
    ("data: {}", "data"), ("data: digits", "data"), ("expect: {minutes: 1}", "expect.targets"), ("limits: {memory_gb: -1}", "limits.memory_gb"),
    ("data: {name: digits, paht: x}", "data.paht"), ('data: {name: digits, path: "\\ud800"}', ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key"), WRONG, ids=[w[0] for w in WRONG])
def test_22_wrong_values(text, key, tmp_path):
    section = text.split(":")[0]
    base = {"family": "family: vae", "data": "data: {name: digits}"}
    base[section] = text
    error = refused("\n".join(base.values()) + "\n", tmp_path)
    assert any(f"{key}" in line and "c.yaml:" in line for line in error.lines), error.lines


def test_22_every_mistake_at_once(tmp_path):
    text = "family: vae\ndata: {name: digits}\ntrain:\n  lr: fast\n  stps: 5\n  steps: 0\nmodel:\n  latent: no\n"
    lines = refused(text, tmp_path).lines
    assert [line.split(": ")[0].rsplit("/", 1)[-1] for line in lines] == ["c.yaml:4:3", "c.yaml:5:3", "c.yaml:6:3", "c.yaml:8:11"]
    assert any("did you mean 'steps'" in line for line in lines)
    many = "family: vae\ndata: {name: digits}\ntrain:\n" + "".join(f"  k{i}: 1\n" for i in range(30))
    assert len(refused(many, tmp_path).lines) == 10


def test_22_numbers_that_other_readers_take_for_text(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(GOOD.replace("2e-3", "1e-4"))
    assert recipe.read(str(path))[0].train.lr == 1e-4


ODD = {
    "empty": (b"", "config"), "BOM only": (b"\xef\xbb\xbf", "config"), "NUL": (b"family: v\0ae\n", "config"),
    "UTF-16": (GOOD.encode("utf-16"), "config"), "Latin-1": ("family: caf\xe9\n".encode("latin-1"), "config"), "comment": (b"# nothing\n", "config"),
    "ESC": (b"family: \x1b[31mvae\n", "config"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_23_odd_files(name, tmp_path):
    error = refused(ODD[name][0], tmp_path, ODD[name][1])
    assert "\x1b" not in str(error)
    assert "\0" not in str(error)


def test_23_what_is_no_file(tmp_path):
    with_mark = tmp_path / "bom.yaml"
    with_mark.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert recipe.read(str(with_mark))[0].family == "vae"
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name, rc in (("fifo.yaml", 78), ("folder.yaml", 78), ("absent.yaml", 66), ("x" * 300 + ".yaml", 66)):
        done = here("train", tmp_path / name, "--out", tmp_path / "run", rc=rc)
        assert done.seconds < 5
    here("train", "no-such-recipe", rc=66, id="no-input")
    assert not (tmp_path / "run").exists()


FLAGS = [
    ("train", "vae-digits", "--steps", "0"), ("train", "vae-digits", "--steps", "x"), ("train", "vae-digits", "--steps", "10**9"),
    ("train", "vae-digits", "--batch", "-1"), ("train", "vae-digits", "--batch", "0"), ("train", "vae-digits", "--seed", str(2**64)),
    ("train", "vae-digits", "--seed", "-1"), ("train", "vae-digits", "--set", "train.lr=nan"), ("train", "vae-digits", "--set", "train.lr=-1"),
    ("train", "vae-digits", "--set", "train.lr"), ("train", "vae-digits", "--set", "=1"), ("train", "vae-digits", "--set", "train.nothing=1"),
    ("train", "vae-digits", "train.lr.x=1"), ("train", "vae-digits", "train=5"), ("train", "vae-digits", "train.lr=[1"),
    ("train", "vae-digits", "train.lr=a: b: c"), ("train", "vae-digits", "--progress", "loud"), ("train", "vae-digits", "--precision", "fp8"),
    ("train", "vae-digits", "--steps", "5", "train.steps=6"), ("train", "vae-digits", "--nothing"), ("train",),
    ("train", "--resume", "r", "--out", "o"), ("train", "--resume", "r", "--init-from", "i"), ("train", "--dry-run"),
    ("sample",), ("sample", "--ckpt", "x", "-n", "0"), ("sample", "--ckpt", "x", "-n", str(10**12)), ("sample", "--ckpt", "x", "--seed", str(2**64)),
    ("sample", "--ckpt", "x", "--prompt", "a", "--label", "1"), ("sample", "--ckpt", "x", "-n", "-5"), ("list", "nothing"), ("nothing",),
    ("init", "no-such-recipe"), ("train", "vae-digits", "--out"), ("train", "vae-digits", "--steps", "\x1b[31m"), ("train", "vae-digits", "train.\x1b=1"),
]  # fmt: skip


@pytest.mark.parametrize("args", FLAGS, ids=" ".join)
def test_24_flags(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = here(*args, rc=2, id="usage").err
    assert len(said.splitlines()) <= 3
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("change", ["temperature=-1", "chunk=0", "chunk=1e9", "nothing=1", "chunk=x", "chunk"])
def test_24_draws(change, tmp_path):
    here("sample", "--ckpt", tools.trained(), change, "--out", tmp_path / "s", rc=2, id="usage")
    assert not (tmp_path / "s").exists()


def test_24_labels_and_prompts_without_the_power(tmp_path):
    for flag in (["--label", "3"], ["--prompt", "a"], ["--label", "zebra"]):
        here("sample", "--ckpt", tools.trained(), *flag, "--out", tmp_path / "s", rc=2, id="power")


ABSENT = [name for name, here_ in [("cuda", torch.cuda.is_available()), ("cuda:9", torch.cuda.device_count() > 9),
                                   ("mps", torch.backends.mps.is_available())] if not here_]  # fmt: skip


@pytest.mark.parametrize("name", [*ABSENT, "gpu", "cuda:x", "cpu:0", "tpu", "", "\x1b"])
def test_25_devices_that_are_not_here(name, tmp_path):
    done = here("train", *TINY, "--device", name, "--out", tmp_path / "run", rc=69, id="device")
    assert done.seconds < 2 or done.seconds < 10  # under load
    assert "try:" in done.err
    assert not (tmp_path / "run").exists()
    here("sample", "--ckpt", tools.trained(), "--device", name, rc=69, id="device")


@pytest.mark.parametrize(("precision", "flags", "able"), [
    ("bf16", {"avx2"}, False), ("bf16", {"avx512_bf16"}, True), ("bf16", {"amx_bf16"}, True), ("fp16", {"avx512_bf16"}, False),
    ("fp16", {"amx_fp16"}, True), ("fp32", set(), True),
])  # fmt: skip
def test_25_precision_that_this_cpu_would_emulate(precision, flags, able, tmp_path, monkeypatch):
    monkeypatch.setattr(device, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(device.platform, "system", lambda: "Linux")
    if able:
        assert device.resolve("cpu", precision).device.type == "cpu"
    else:
        said = here("train", *TINY, "--device", "cpu", "--precision", precision, "--out", tmp_path / "run", rc=69, id="device").err
        assert "70 to 200 times slower" in said
        assert not (tmp_path / "run").exists()


def test_25_auto_says_what_it_chose(tmp_path):
    assert "auto: " in here("train", *TINY, "train.steps=1", "--out", tmp_path / "run").err


@pytest.mark.slow
def test_25_as_a_process(tmp_path):
    missing = ABSENT[0] if ABSENT else "gpu"
    cli("train", "vae-digits", "--device", missing, "--out", tmp_path / "run", rc=69, id="device")
    cli("train", "vae-digits", "--steps", "0", rc=2, id="usage")
    assert sys.version_info >= (3, 11)
