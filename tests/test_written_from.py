"""Sets that are made of others: sentences with mistakes, functions without docstrings, questions, plays; and a picture in front of a text."""

import random

import pytest
import torch

from genctl import catalog
from genctl.contract import Spec
from genctl.data._squad import Question
from genctl.families.autoregressive.gpt import GPT
from genctl.media import text as letters
from genctl.nets.embed import Reader
from tests.battery import check_family

repairs, docstrings, questions, plays = (catalog.load("data", n) for n in ("repairs", "docstrings", "xquad-questions", "plays"))
LINES = [
    f"the {a} is on a {b} with his {c}" for a in ("dog", "man", "child") for b in ("mat", "boat", "hill", "bench") for c in ("hat", "stick")
]


@pytest.mark.parametrize(
    ("line", "able"),
    [
        ("the", {"", *repairs.SMALL}),
        ("is", {"are"}),
        ("her", {"his"}),
        ("boats", {"boat", "baots"}),
        ("runner", {"runners", "rnuner"}),
        ("red car", {"car red"}),
        ("12 am", {"am 12"}),
    ],
)
def test_every_mistake_there_is(line, able):
    assert {repairs.spoiled(line.split(), 1.0, random.Random(k)) for k in range(200)} == able


def test_sentences_with_mistakes_stand_beside_what_they_were(tmp_path):
    (tmp_path / "l.txt").write_text("\n".join(LINES) + "\n")

    def opened(**keys):
        return repairs.open(repairs.Config(path=str(tmp_path / "l.txt"), tokenise="chars", **keys))

    data = opened(rate=0.3)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [20, 2, 2]
    pairs = [p for s in (data.train, data.valid, data.test) for p in s.said]
    assert sorted(t for _, (t,) in pairs) == sorted(LINES) and sum(a != b for a, (b,) in pairs) > 15
    assert opened(rate=0.3).train.said == data.train.said != opened(rate=0.3, seed=1).train.said
    assert all(a == b for a, (b,) in opened(rate=0).train.said)


def test_functions_beside_what_they_said_of_themselves():
    body = 'def add(a, b):\n    """Return the sum.\n\n    Of both.\n    """\n    # plus\n    return a + b\n'
    assert docstrings.apart(body) == ("def add(a, b):\n    # plus\n    return a + b", ("Return the sum.",))
    for none in (
        "def f():\n    return 1\n",
        'def f():\n    """Only says something here."""\n',
        'def f():\n    """Too short."""\n    return 1\n',
        'def f(): "Says it in one line."; return 1\n',
    ):
        assert docstrings.apart(none) is None


def test_a_question_beside_the_sentence_that_answers_it():
    context = "It rains. Dr. Who came in 1963, on a Saturday! Then 3.5 people left."
    for answer, said in (("1963", "Who came in 1963, on a Saturday!"), ("3.5", "Then 3.5 people left."), ("rains", "It rains.")):
        pair = questions.pair(Question("When?", context, answer, context.index(answer)))
        assert pair == (f"{answer}: {said}", ("When?",))


def test_speeches_become_dialogues(tmp_path):
    speeches = "".join(f"{name}:\nline {i},\nand more.\n\n" for i, name in enumerate(["ROMEO", "First Citizen"] * 20))
    (tmp_path / "input.txt").write_text(speeches)
    data = plays.open(plays.Config(path=str(tmp_path), tokenise="chars", turns=4))
    assert [len(s) for s in (data.train, data.valid, data.test)] == [8, 1, 1]
    first = letters.decode(data.train.batch(0, 1).x[0], data.spec)
    agent, user = "First Citizen: line {},\nand more.", "line {},\nand more."
    assert first == "".join(f"<|user|>{user.format(i)}<|agent|>{agent.format(i + 1)}" for i in (0, 2))


def test_published_questions_are_all_there(real_data):
    data = questions.open(questions.Config(tokenise="bytes"))
    assert (len(data.train), len(data.valid), len(data.test)) == (851, 119, 220)


# --- a picture in front ------------------------------------------------------------------------------------------------------


def test_each_patch_of_a_picture_is_a_vector():
    read, x = Reader(Spec(shape=(3, 16, 20), levels=256), 6), torch.rand(2, 3, 16, 20)
    assert read.count == 6 and read(x).shape == (2, 6, 6)
    other = x.clone()
    other[0, :, 8:, 8:16] = 0  # the fifth
    changed = (read(x) != read(other)).any(-1)
    assert changed[0].tolist() == [False] * 4 + [True, False] and not changed[1].any()
    weight, bias = read.embed.weight, read.embed.bias
    torch.testing.assert_close(read(x)[0, 0], weight @ x[0, :, :8, :8].flatten() + bias)


def test_a_text_may_be_conditional_on_a_picture():
    picture = Spec(shape=(1, 8, 12), levels=256)
    check_family(
        GPT, {"layers": 1, "heads": 2, "width": 8, "conditions": ["picture"]}, Spec(shape=(4,), vocab=5, end=0, given={"picture": picture})
    )
