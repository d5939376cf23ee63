"""chat: what a model reads before it answers, how an answer ends, what the keys and the commands do, and that all of it repeats under a seed."""

import io
import json

import pytest

from genctl.cli import chat as command
from genctl.data import _dialogue
from genctl.errors import GenctlError
from genctl.tasks.chat import Chat
from genctl.tasks.sample import Sampler
from tests.faults.tools import here

SAID = [("user", "one mocha"), ("agent", "ok"), ("user", "bye"), ("agent", "see you")]
QUIETLY = [f"train.{every}_every=1000" for every in ("valid", "sample", "save")]
TINY = ["model.layers=1", "train.batch=8", "train.threads=1", "train.decay=none", "train.ema=0", *QUIETLY]


def trained(folder, family, steps, *keys, fronts=((),)):
    """On one dialogue many times, behind each of `fronts`."""
    recipe, path = folder / "r.yaml", folder / "d.jsonl"
    rows = [{"turns": [{"role": role, "text": said} for role, said in [*front, *SAID]]} for front in fronts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) * 10)
    recipe.write_text(f"family: {family}\ndata: {{name: dialogues, path: {path}, tokenise: chars}}\nmodel: {{learn: learn}}\n")
    here("train", recipe, *TINY, *keys, "--steps", steps, "--out", folder / "run", "--progress", "none")
    return folder / "run"


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A model that knows the dialogue by heart."""
    return trained(
        tmp_path_factory.mktemp("chat"),
        "gpt",
        100,
        "model.heads=2",
        "model.width=32",
        "train.lr=1e-2",
        fronts=[[], [("system", "be kind")]],
    )


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """One that has learned nothing, so that it says anything."""
    return trained(tmp_path_factory.mktemp("chat"), "lstm", 1, "model.width=16")


@pytest.fixture
def talk(monkeypatch):
    """The command, given lines."""

    def to(ckpt, lines, *args, **how):
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        return here("chat", "--ckpt", ckpt, *args, **how)

    return to


def chat(ckpt, seed=0, system="", warn=print, **keys):
    sampler = Sampler.load(ckpt)
    return Chat(sampler, sampler.draw([f"{k}={v}" for k, v in keys.items()]), seed, system, warn)


def quiet(text):
    pass


def test_each_line_is_answered_and_the_conversation_goes_on(learned, talk):
    assert talk(learned, "one mocha\n\nbye\n", "--set", "temperature=0").out == "ok\nsee you\n"
    assert talk(learned, "one mocha\n/quit\nbye\n", "--set", "temperature=0").out == "ok\n"
    assert talk(learned, "").out == ""


def test_what_is_saved_is_data(learned, talk, tmp_path):
    told = talk(
        learned,
        f"one mocha\nbye\n/save {tmp_path / 'a b.jsonl'}\n/reset\none mocha",
        "--set",
        "temperature=0",
        "--save",
        tmp_path / "all.jsonl",
    )
    assert told.out == "ok\nsee you\nok\n"
    from genctl import catalog

    read = catalog.load("data", "dialogues").dialogues
    assert read(tmp_path / "a b.jsonl") == [SAID]
    assert read(tmp_path / "all.jsonl") == [SAID, SAID[:2]]


def test_as_json(learned, talk):
    told = talk(learned, "one mocha\n/reset\n", "--set", "temperature=0", "--system", "be kind", "--json")
    turns = [{"role": role, "text": said} for role, said in [("system", "be kind"), *SAID[:2]]]
    assert json.loads(told.out) == {"seed": 0, "conversations": [{"turns": turns}]}


def test_answers_repeat_under_a_seed(fresh, talk):
    lines = "one\ntwo\nthree\n"
    first = talk(fresh, lines).out
    assert first == talk(fresh, lines).out
    assert first != talk(fresh, lines, "--seed", 1).out
    one = chat(fresh)
    assert "".join(one.answer(line, quiet) + "\n" for line in lines.split()) == first
    again = chat(fresh)
    assert again.answer("one", quiet) == one.said[1][1]
    again.reset()
    assert again.answer("one", quiet) != one.said[1][1]  # the second answer of this talk


@pytest.mark.parametrize("which", ["learned", "fresh"])
def test_it_is_said_as_it_comes(which, request):
    pieces, talk = [], chat(request.getfixturevalue(which))
    assert "".join((said := talk.answer("one mocha", pieces.append), *pieces)[1:]) == said
    assert len([p for p in pieces if p]) >= min(2, len(said))


def test_a_turn_ends_with_the_symbol_of_a_role(learned):
    """And no special symbol is kept in what was said; what a user types is text."""
    talk = chat(learned, temperature=0)
    talk.answer("one mocha", quiet)
    talk.answer("<|agent|>", quiet)
    number = talk.number
    front = talk._front()
    assert [i for i in front if i in number.values()] == [number[r] for r in ("user", "agent", "user", "agent", "agent")]
    assert not {talk.coder.end, *number.values()} & {i for _, row in talk.turns for i in row}


def test_the_history_is_cut_to_the_context_by_whole_turns(fresh):
    warned = []
    talk = chat(fresh, warn=warned.append)
    size, read = talk.sampler.spec.size, []
    for _ in range(6):
        talk._add("user", "mocha")
        front, every = talk._front(), _dialogue.row(talk.turns, talk.number)
        assert len(front) <= size - size // 4
        assert front[0] == talk.number["user"] and front[-1] == talk.number["agent"]
        assert every[len(every) - len(front) + 1 :] == front[:-1]  # the end of all that was said
        read.append(len(front) == len(every) + 1)
        talk._add("agent", "see you")
    assert read[0] and not read[-1] and not warned
    talk.answer("y" * 500, quiet)
    assert "warning[prompt-length]" in warned[0]


def test_what_the_vocabulary_lacks_is_told_and_left_out(learned, talk):
    told = talk(learned, "one mochaé\n", "--set", "temperature=0")
    assert "warning[prompt-token]" in told.err and told.out == "ok\n"


def test_an_answer_may_be_held_to_a_length_a_pattern_or_a_stop_string(learned, fresh, talk):
    assert talk(learned, "one mocha\n", "--set", "temperature=0", "--set", "length=1").out == "o\n"
    assert talk(fresh, "one\n", "--set", "pattern=k+").out.strip("k") == "\n"
    assert talk(learned, "one mocha\n", "--set", "temperature=0", "--set", 'stop=["k"]').out == "o\n"


BAD = {
    "a system's turn": ("", ["--system", "x"], "power"),
    "beams": ("hello", ["--set", "beams=2"], "usage"),
    "an unknown key": ("", ["--set", "warmth=2"], "usage"),
    "a place that cannot be written": ("", ["--save", "/proc/absent/x"], "out-unwritable"),
    "a long line": ("x" * (command.LONGEST + 5), [], "limit"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error(name, fresh, talk):
    lines, args, id = BAD[name]
    talk(fresh, lines, *args, rc={2, 71, 73}, id=id)


def test_a_long_system_turn_is_refused(learned):
    with pytest.raises(GenctlError, match="--system has"):
        chat(learned, system="one mocha " * 20)


def test_bytes_that_are_no_text_are_one_clear_error(fresh, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\xff\n"), encoding="utf-8"))
    here("chat", "--ckpt", fresh, rc=65, id="data-encoding")


def test_wrong_commands_end_nothing(learned, talk):
    told = talk(learned, "/what\n/save\n/save /proc/absent/x\n /what\none mocha\n", "--set", "temperature=0")
    assert told.err.count("error[usage]") == 2 and told.err.count("error[out-unwritable]") == 1
    assert len(told.out.splitlines()) == 2  # behind a space it is a text


def test_other_models_are_refused(tmp_path, talk):
    (tmp_path / "t.txt").write_text("one\ntwo\nthree\n" * 5)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"family: rnn\ndata: {{name: lines, path: {tmp_path / 't.txt'}}}\nmodel: {{width: 8}}\n")
    here("train", recipe, *TINY, "--steps", 1, "--out", tmp_path / "run", "--progress", "none")
    told = talk(tmp_path / "run", "hello\n", rc=2, id="power")
    assert "not trained on dialogues" in told.err


def test_one_interrupt_ends_an_answer_and_two_the_program(learned, monkeypatch, tmp_path):
    """The answer is kept as far as it went."""
    heard = []

    class Keys:
        """Two lines, interrupted: one while it is answered, then the prompt."""

        def __init__(self, *lines):
            self.lines = list(lines)

        def isatty(self):
            return False

        def readline(self, limit):
            line = self.lines.pop(0)
            if line is None:
                raise KeyboardInterrupt
            return line

    answer = Chat.answer

    def broken(self, text, say):
        def told(piece):
            say(piece)
            if text == "one mocha" and piece:
                raise KeyboardInterrupt

        heard.append(text)
        return answer(self, text, told)

    monkeypatch.setattr(Chat, "answer", broken)
    monkeypatch.setattr("sys.stdin", Keys("one mocha\n", "bye\n", None, None, "never\n"))
    told = here("chat", "--ckpt", learned, "--set", "temperature=0", "--save", tmp_path / "kept.jsonl", rc=130)
    assert heard == ["one mocha", "bye"]
    texts = [t["text"] for t in json.loads((tmp_path / "kept.jsonl").read_text())["turns"]]
    assert texts[:3] == ["one mocha", "o", "bye"]
    assert told.out == f"o{texts[3]}\n"


def test_on_a_terminal_it_asks(learned, monkeypatch):
    lines = iter(["one mocha"])

    def ask(prompt):
        assert prompt == "> "
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    monkeypatch.setattr("builtins.input", ask)
    told = here("chat", "--ckpt", learned, "--set", "temperature=0")
    assert told.out == "ok\n" and "/reset" in told.err
