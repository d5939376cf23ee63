"""translate, of texts: a line for a line, in their order, whatever stands in the file; and one sentence on stdout."""

import gzip
import json

import pytest
import torch

from genctl import cli
from genctl.contract import Spec
from genctl.media import text as letters
from genctl.tasks import train as training
from genctl.tasks.sample import Sampler
from tests.test_eval import Quiet

SAID = {"a": "x", "b": "y", "c": "z", "ab": "xy", "ca": "zx", "bcc": "yzz", "abcab": "xyzxy"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model that knows how the letters of seven words are spelt in another alphabet."""
    home = tmp_path_factory.mktemp("seq2seq")
    (home / "pairs.tsv").write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in SAID.items()))
    sets = [
        f"data={{name: text-pairs, path: {home / 'pairs.tsv'}, tokenise: chars, valid: 0, test: 0}}",
        "model={layers: 1, heads: 2, width: 32, dropout: 0, smoothing: 0}",
        "train={steps: 150, batch: 7, lr: 0.01, valid_batches: 0}",
        "sample={beams: 3}",
    ]
    training.train(
        training.Request(recipe="seq2seq-multi30k", overrides=[(s, None) for s in sets], out=home / "run", device="cpu"), Quiet()
    )
    return home / "run"


def call(capsys, *args: object, command: str = "translate") -> tuple[dict, str]:
    with pytest.raises(SystemExit):
        cli.main([command, *map(str, args), "--json", "--device", "cpu"])
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def translated(capsys, run, tmp_path, text: bytes, name: str = "in.txt") -> tuple[list[str], dict, str]:
    (tmp_path / name).write_bytes(text)
    found, said = call(capsys, "--ckpt", run, "--input", tmp_path / name, "--out", tmp_path / "out")
    return (tmp_path / "out" / "in.txt").read_text(encoding="utf-8").split("\n")[:-1], found, said


def test_a_line_for_a_line(run, tmp_path, capsys):
    wanted = ["abcab", "", "c", "  ", "ab", "ca", "a", "bcc", "c"]
    found, facts, _ = translated(capsys, run, tmp_path, "\r\n".join(wanted).encode() + b"\n")
    assert found == [SAID.get(w, "") for w in wanted]
    assert (facts["n"], facts["cut"], facts["unknown"]) == (9, 0, 0)
    packed, _, _ = translated(capsys, run, tmp_path, gzip.compress("\n".join(wanted[::-1]).encode()), "in.txt.gz")
    assert packed == found[::-1]


def test_what_is_not_known_is_left_out_and_counted(run, tmp_path, capsys):
    found, facts, said = translated(capsys, run, tmp_path, "aäb\n漢\n".encode() + b"abcab" * 3 + b"\n")
    assert found[0] == "xy" and found[1] == "" and facts["unknown"] == 2 and facts["cut"] == 1
    assert "warning[prompt-token]: 2 " in said and "warning[prompt-length]: 1 of 3" in said


def test_one_sentence(run, capsys):
    assert call(capsys, "--ckpt", run, "--text", "ab")[0] == {"text": "ab", "translation": "xy"}
    with pytest.raises(SystemExit):
        cli.main(["translate", "--ckpt", str(run), "--text", "ca", "--device", "cpu"])
    assert capsys.readouterr().out == "zx\n"


@pytest.mark.parametrize(
    ("args", "id"),
    [
        (["--text", "a", "--to", "source"], "usage"),
        (["--text", "a", "--input", "x"], "usage"),
        ([], "usage"),
        (["--input", "nothing.txt"], "no-input"),
        (["--input", "."], "no-input"),
    ],
)
def test_what_cannot_be_done_is_one_error(args, id, run, capsys):
    assert call(capsys, "--ckpt", run, *args)[0]["error"]["id"] == id


def test_a_file_that_is_no_text(run, tmp_path, capsys):
    (tmp_path / "bad.txt").write_bytes(b"a\n\xff\n")
    assert call(capsys, "--ckpt", run, "--input", tmp_path / "bad.txt")[0]["error"]["id"] == "data-encoding"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").write_text("")
    (tmp_path / "good.txt").write_text("a\n")
    found, _ = call(capsys, "--ckpt", run, "--input", tmp_path / "good.txt", "--out", tmp_path / "other")
    assert found["error"]["id"] == "out-exists"


def test_a_prompt_is_the_source(run, tmp_path, capsys):
    call(capsys, "--ckpt", run, "--prompt", "bcc", "-n", 1, "--out", tmp_path / "s", command="sample")
    assert (tmp_path / "s" / "samples.txt").read_text().strip() == "yzz"


def test_scores_are_those_of_the_texts(run, capsys):
    """The held-out part is the training part here, which the model knows by heart."""
    found, _ = call(capsys, "--ckpt", run, "--metric", "bleu,chrf,rouge,exact_match", command="eval")
    assert found["exact_match"] == 1 and found["chrf"] == pytest.approx(100) and found["rouge"] == pytest.approx(100)
    assert found["results"]["exact_match"]["n"] == 7 and found["results"]["bleu"]["stamp"]["data"] == "text-pairs"


def test_symbols_of_several_characters_are_read_from_the_longest():
    spec = Spec(shape=(4,), vocab=4, end=0, media="text", codec={"symbols": ["", "a", "ab", "é"]})
    assert letters.read("abaxéb", spec) == ([2, 1, 3], ["x", "b"])
    assert torch.equal(letters.encode("aab", spec), torch.tensor([1, 2]))


def test_a_model_of_other_things_does_not_translate_texts(tmp_path, capsys):
    from tests.cases import train_case

    model = train_case("gpt", tmp_path / "gpt", steps=1)
    assert call(capsys, "--ckpt", model, "--text", "a")[0]["error"]["id"] == "power"
    assert Sampler.load(model).recipe.family == "gpt"
