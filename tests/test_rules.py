"""Patterns and stop strings: what is drawn matches, as often as it should, whatever a symbol is; syntax against Python's own `re`."""

import itertools
import random
import re

import pytest
import torch

from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.autoregressive.gpt import GPT
from genctl.families.autoregressive.rnn import RNN
from genctl.maths import decoding, noise, patterns, rules
from genctl.maths.decoding import Draw
from genctl.media import text as letters
from genctl.nets.symbols import rule
from genctl.tasks.sample import Sampler
from tests.battery import build
from tests.test_beams import Deep
from tests.test_decoding import Chain
from tests.test_speculative import chi_square

ALPHABET = "abcxyzAB\u00e9\u2603\U0001f98a1234-_.@ {}[]\n"
SYNTAX = [
    "", "[a-z]+", r"\d{4}-\d\d", "(a|b)*c?", "(?:ab)+", "\u00e9\\w", ".{0,5}", "a{2,}", "(?P<n>a|)b", "[]a]{2}", "[^a]*", "a{,2}", "a{,}",
    "x{a}", "a\\{", "\\x41\\u00e9", "(ab|a)(bc|c)?", "a+?b*?", "[\\w.-]+@[a-z]{2,3}", "\\S+ \\S+", "(a*)*b", "[^\\W\\d]", "\\N{SNOWMAN}?a",
    "..", "[\\[\\]]+", "a|", "()", "(|a)+", "(a|ab)(c|bcd)*", "(?:(?:a|b)c){1,2}", "\\n|\\s", "[\u2603-\U0001f98a]",
]  # fmt: skip


def accepts(machine, text):
    state = patterns.START
    for byte in text.encode():
        state = int(machine.table[state, byte])
    return bool(machine.accept[state])


@pytest.mark.parametrize("alphabet", [ALPHABET, None], ids=["known characters", "all characters"])
@pytest.mark.parametrize("pattern", SYNTAX)
def test_a_pattern_means_what_it_means_to_python(pattern, alphabet):
    dice, machine, said = random.Random(0), patterns.machine(pattern, alphabet), re.compile(pattern)
    for _ in range(300):
        few = ALPHABET if dice.random() < 0.5 else "abc"
        text = "".join(dice.choice(few) for _ in range(dice.randint(0, 5)))
        assert accepts(machine, text) == bool(said.fullmatch(text)), text


@pytest.mark.parametrize(
    "pattern",
    ["(", "[a", "^a", "a$", r"\bx", "(?=a)", r"(a)\1", "(?i)a", "a++", "(" * 60 + ")" * 60, "a{99999}", r"\q", "*", "(?<=a)b", "(?P=n)"],
)
def test_what_is_no_regular_expression_is_refused_with_a_reason(pattern):
    with pytest.raises(ValueError, match=r"'.+'|more than 50 deep"):
        patterns.check(pattern)
    with pytest.raises(ValueError, match="pattern"):
        Draw(pattern=pattern)


@pytest.mark.parametrize("pattern", ["((a{9999}){9999})", "(.*a.{20})"])
def test_an_automaton_too_large_is_refused(pattern):
    with pytest.raises(GenctlError, match="too many states"):
        patterns.machine(pattern)


# --- what is drawn -----------------------------------------------------------------------------------------------------------

CHARS = Spec(shape=(12,), vocab=8, media="text", codec={"symbols": ["a", "b", "c", "1", "2", " ", "\u00e9", "\n"]})
ENDED = Spec(shape=(12,), vocab=8, end=0, media="text", codec={"symbols": ["", "a", "b", "c", "1", "2", " ", "\u00e9"]})
WORDS = Spec(shape=(12,), vocab=9, end=8, media="text", codec={"symbols": ["a", "ab", "abc", "b", "bc1", " a", "12", "2", ""]})
BYTES = Spec(shape=(12,), vocab=256, media="text", codec={"bytes": True})
FEW = ["a*b", "[ab]{3}", "(ab|bc1)+ ?2?", r"[abc]+( [abc]+)*", r"(a|b)+\d{2}", "a?b?c?", ".*2", "(abc|a12|b)*", r"\w{12}", "[^a]b.*"]


def drawn(cls, spec, draw, n=40, seed=0):
    small = {"layers": 1, "width": 16} | ({"heads": 2} if cls is GPT else {})
    model = build(cls, small, spec, seed).eval()
    for p in model.parameters():
        p.data.mul_(4)
    with torch.no_grad(), noise.stream(seed):
        return model.sample(n, draw)


def said(x, spec, draw):
    asked = rule(draw, spec)
    return [letters.shown(row[: asked.count(row)], spec, 0, draw.stop) for row in x]


@pytest.mark.parametrize("spec", [CHARS, ENDED, WORDS, BYTES], ids=["characters", "with an end", "words", "bytes"])
@pytest.mark.parametrize("cls", [GPT, RNN])
@pytest.mark.parametrize("pattern", FEW)
def test_everything_drawn_matches(cls, spec, pattern):
    for keys in ({}, {"temperature": 0}, {"temperature": 2, "top_k": 3}, {"top_p": 0.5}, {"typical": 0.5, "repetition": 2}, {"beams": 3}):
        draw = Draw(pattern=pattern, **keys)
        x = drawn(cls, spec, draw)
        texts = said(x, spec, draw)
        assert all(re.fullmatch(pattern, t) for t in texts), texts
        if spec.end is not None:
            assert texts == [letters.decode(row, spec) for row in x]


def test_rows_come_with_the_probability_of_the_model_renormalised_step_by_step():
    texts, model, pattern = ["a", "b", "ab"], Deep(1, sharp=1.0), "a+b|b?a*"
    asked = rules.pattern(pattern, [t.encode() for t in texts], None)

    def alive(row):  # some text of at most four symbols goes on from here and matches
        return any(
            re.fullmatch(pattern, "".join(texts[s] for s in (*row, *rest)))
            for k in range(4 - len(row) + 1)
            for rest in itertools.product(range(3), repeat=k)
        )

    p = {(): 1.0}
    for _ in range(4):
        fresh = {}
        for row, share in p.items():
            if len(row) < 4 and any(alive((*row, s)) for s in range(3)):
                logits, state = model.start(1, None)
                for s in row:
                    logits, state = model.step(torch.tensor([[s]]), state)
                    logits = logits[:, -1]
                odds = [float(o) if alive((*row, s)) else 0.0 for s, o in enumerate(logits[0].exp())]
                fresh |= {(*row, s): share * o / sum(odds) for s, o in enumerate(odds) if o}
            else:
                fresh[row] = fresh.get(row, 0) + share
        p = fresh
    with noise.stream(0):
        x = decoding.rows(model, 20_000, 4, Draw(pattern=pattern), window=4, rule=asked)
    found = dict.fromkeys(p, 0)
    for row in x:
        found[tuple(row[: asked.count(row)].tolist())] += 1
    assert chi_square(torch.tensor([found[k] for k in p]), torch.tensor([p[k] for k in p])) < 2 * len(p) + 15


def test_a_row_is_led_to_an_end_while_there_is_room():
    """A model that only ever wants an a, and a pattern that ends with b: the last symbol is b, and no row fails."""
    model = Chain([0.999, 0.0005, 0.0005], [[0.999, 0.0005, 0.0005]] * 3)
    asked = rules.pattern("a*b(ab)?", [b"a", b"b", b""], None)
    for length in (1, 2, 5):
        x = decoding.rows(model, 3, length, Draw(pattern="x", temperature=0), window=9, rule=asked)
        assert x.tolist() == [[0] * (length - 1) + [1]] * 3


def test_what_cannot_be_is_one_clear_error():
    with pytest.raises(GenctlError, match="no text of this model's symbols"):
        drawn(RNN, CHARS, Draw(pattern="a*z"))
    with pytest.raises(GenctlError, match="no text of 12 symbols, but of 13, matches"):
        drawn(RNN, CHARS, Draw(pattern="a{13,}"))
    with pytest.raises(GenctlError, match="give one of them"):
        drawn(RNN, CHARS, Draw(pattern="a", stop=["b"]))
    with pytest.raises(GenctlError, match="for text"):
        drawn(RNN, Spec(shape=(3,), vocab=3), Draw(stop=["b"]))


@pytest.mark.parametrize("spec", [CHARS, ENDED], ids=["characters", "with an end"])
def test_an_empty_pattern_of_length_nothing(spec):
    draw = Draw(pattern="()")
    assert set(said(drawn(RNN, spec, draw, 3), spec, draw)) == {""}


# --- stop strings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [CHARS, ENDED, WORDS, BYTES], ids=["characters", "with an end", "words", "bytes"])
@pytest.mark.parametrize("stop", [["b"], ["ab", "1"], ["c1", "bc"], [" a"], ["\u00e9", "2"]], ids=str)
def test_a_text_ends_before_the_first_stop_string(spec, stop):
    """Rows are those of plain drawing as far as they go, and the text is cut before the first stop string, wherever in a symbol it stands."""
    draw = Draw(stop=stop)
    plain, cut = (drawn(GPT, spec, d, 60) for d in (Draw(), draw))
    asked, hit = rule(draw, spec), 0
    for before, row, text in zip(plain, cut, said(cut, spec, draw), strict=True):
        count = asked.count(row)
        assert torch.equal(before[:count], row[:count])
        whole = letters.decode(before, spec)
        first = min((at for s in stop if (at := whole.find(s)) >= 0), default=len(whole))
        assert text == whole[:first]
        if first < len(whole) and spec.end is None:
            assert (row[count:] == asked.fill).all() and not any(s in letters.decode(before[: count - 1], spec) for s in stop)
            hit += 1
    assert hit or spec.end is not None or spec is BYTES


def test_drawing_ends_early_when_all_rows_have_stopped():
    model = Deep(0)
    with noise.stream(0):
        x = decoding.rows(model, 4, 4000, Draw(stop=["ab"]), window=4001, rule=rules.stops(["ab"], [b"a", b"b", b"c"]))
    assert x.shape == (4, 4000) and model.steps < 400


def test_a_stop_string_in_the_prompt_does_not_count():
    prompt, asked = torch.tensor([[0, 1, 0]]), rules.stops(["ab"], [b"a", b"b", b"c"])
    with noise.stream(0):
        x = decoding.rows(Deep(0), 1, 40, Draw(stop=["ab"]), window=41, rule=asked, prompt=prompt)[0]
    spec = Spec(shape=(40,), vocab=3, media="text", codec={"symbols": ["a", "b", "c"]})
    text = letters.shown(x[: 3 + asked.count(x[3:])], spec, 3, ["ab"])
    assert text.startswith("aba") and "ab" not in text[3:] and 3 < len(text) < 40


@pytest.mark.parametrize(
    ("text", "stop", "sure"),
    [
        ("abc", [], "abc"),
        ("ab\ufffd", [], "ab"),
        ("abc", ["cd"], "ab"),
        ("ab\n", ["\n\n", "b\nQ"], "a"),
        ("", ["a"], ""),
        ("aba", ["abab"], ""),
    ],
)
def test_what_of_a_text_in_the_making_is_certain(text, stop, sure):
    assert letters.certain(text, stop) == sure


def test_the_pieces_of_symbols():
    assert letters.pieces(WORDS) == [b"a", b"ab", b"abc", b"b", b"bc1", b" a", b"12", b"2", b""]
    assert letters.pieces(BYTES)[65] == b"A" and len(letters.pieces(BYTES)) == 256
    assert letters.pieces(Spec(shape=(3,), vocab=3, media="text")) == [b"0 ", b"1 ", b"2 "]
    assert letters.pieces(Spec(shape=(3,), vocab=3, end=0, media="text")) == [b"", b"1 ", b"2 "]


def test_a_sampler_shows_what_was_asked_for():
    """`Sampler.text` cuts behind the prompt alone."""
    sampler = Sampler.__new__(Sampler)
    object.__setattr__(sampler, "spec", WORDS)
    row = torch.tensor([2, 3, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0])  # abc b ab bc1
    assert sampler.text(row, Draw(stop=["c1"]), 1) == "abcbabb"
    assert sampler.text(row, Draw(stop=["bc"]), 1) == "abcbab"
    assert sampler.text(row, Draw(), 1) == "abcbabbc1aaaaaaaa"
