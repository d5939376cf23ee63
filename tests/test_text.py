"""Text: hostile files to symbols, symbols to windows, and back; the grammar's truth."""

import zipfile

import pytest
import torch

from genctl import catalog
from genctl.contract import Spec
from genctl.data import grammar
from genctl.data import text as reader
from genctl.errors import GenctlError
from genctl.media import text as letters

PROSE = "It was a dark and stormy night; the rain fell in torrents. " * 20


def opened(path, **keys):
    return reader.open(reader.Config(path=str(path), **{"length": 9, **keys}))


def written(tmp_path, data, name="a.txt"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_windows_give_every_symbol_once_in_held_out_parts(tmp_path):
    data = opened(written(tmp_path, PROSE))
    n = len(PROSE)
    row = [letters.decode(x, data.spec) for x in data.train.batch(0, 3).x]
    assert row == [PROSE[i : i + 9] for i in range(3)]
    assert len(data.train) == int(n * 0.8) - 8
    first, second = data.valid.batch(0, 2).x
    assert first[-1] == second[0]
    assert letters.decode(first, data.spec) == PROSE[int(n * 0.8) :][:9]
    assert len(data.valid) == (int(n * 0.9) - int(n * 0.8) - 1) // 8


def test_characters_are_in_order_and_come_back(tmp_path):
    data = opened(written(tmp_path, PROSE + "naïve 🦊\0"))
    table = data.spec.codec["symbols"]
    assert table == sorted(set(PROSE + "naïve 🦊\0"))
    assert letters.decode(letters.encode("naïve 🦊", data.spec), data.spec) == "naïve 🦊"
    with pytest.raises(GenctlError, match="not in this model's vocabulary"):
        letters.encode("Q", data.spec)


def test_bytes_come_back_and_half_a_character_does_not_break_them(tmp_path):
    data = opened(written(tmp_path, PROSE + "naïve 🦊"), tokenise="bytes")
    assert data.spec.vocab == 256
    x = letters.encode("naïve 🦊", data.spec)
    assert letters.decode(x, data.spec) == "naïve 🦊"
    assert letters.decode(x[:-1], data.spec) == "naïve \ufffd"


def test_line_ends_become_one_newline(tmp_path):
    data = opened(written(tmp_path, PROSE + "a\r\nb\rc\n"))
    assert "\r" not in data.spec.codec["symbols"]
    assert "\n" in data.spec.codec["symbols"]


def test_a_byte_order_mark_is_no_symbol(tmp_path):
    assert "\ufeff" not in opened(written(tmp_path, b"\xef\xbb\xbf" + PROSE.encode())).spec.codec["symbols"]


def test_folder_and_zip_are_read_in_the_order_of_names(tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    written(folder, "second" * 10, "b.txt")
    written(folder, "first " * 10, "a.txt")
    written(folder, b"\xff", "not.text")
    with zipfile.ZipFile(tmp_path / "books.zip", "w") as z:
        z.write(folder / "b.txt", "b.txt")
        z.write(folder / "a.txt", "a.txt")
        z.write(folder / "not.text", "not.text")
    both = [opened(p) for p in (folder, tmp_path / "books.zip")]
    assert letters.decode(both[0].train.batch(0, 1).x[0], both[0].spec) == "first fir"
    assert both[0].train.fingerprint() == both[1].train.fingerprint()


@pytest.mark.parametrize(
    ("data", "id", "said"),
    [
        (b"plain text here \xff and on", "data-encoding", "a.txt: byte 0xff at offset 16 is not UTF-8"),
        (b"caf\xe9", "data-encoding", "byte 0xe9 at offset 3"),
        (b"cut off \xf0\x9f\xa6", "data-encoding", "at offset 8"),
        ("text".encode("utf-16"), "data-encoding", "offset 0"),
        (b"", "data-empty", "holds no text"),
        (b"\xef\xbb\xbf", "data-empty", "holds no text"),
        (b"x", "data-empty", "nothing to predict"),
        ("".join(map(chr, range(0x4E00, 0x4E00 + 9000))), "limit", "9,000 distinct characters"),
        (b"PK\x05\x06" + bytes(18), "data-empty", "holds no text"),
    ],
)
def test_faults_are_named(tmp_path, data, id, said):
    with pytest.raises(GenctlError, match=said) as e:
        opened(written(tmp_path, data))
    assert e.value.id == id


def test_a_damaged_zip_is_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a.txt", PROSE)
    raw = bytearray(path.read_bytes())
    raw[40] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(GenctlError) as e:
        opened(path)
    assert e.value.id == "data-format"


def test_no_path_and_nothing_there(tmp_path):
    with pytest.raises(GenctlError, match=r"data\.path"):
        reader.open(reader.Config())
    with pytest.raises(GenctlError) as e:
        opened(tmp_path / "none.txt")
    assert e.value.id == "no-input"


def test_a_short_text_is_one_window_and_a_note_says_so(tmp_path):
    data = opened(written(tmp_path, "short one"), length=65)
    assert data.spec.shape == (9,)
    assert len(data.train) == len(data.valid) == len(data.test) == 1
    assert all(n.startswith("warning[data-short]") for n in data.notes)
    assert data.notes
    assert not opened(written(tmp_path, PROSE)).notes


def test_shakespeare_is_split_as_in_nanogpt(real_data):
    data = catalog.load("data", "tiny-shakespeare")
    found = data.open(data.Config())
    assert len(found.train) == 1_003_854 - 64
    assert found.spec.vocab == 65
    assert len(found.valid) == (111_540 - 1) // 64
    assert found.valid.fingerprint() == found.test.fingerprint()


def test_the_grammar_lists_all_its_sentences():
    truth = grammar.truth()
    assert truth.support.shape == (312, 8)
    assert truth.p.sum().item() == pytest.approx(1)
    torch.testing.assert_close(truth.log_prob(truth.support), truth.p.log())
    assert truth.log_prob(torch.full((1, 8), 3)).item() == -torch.inf
    drawn = truth.draw(50_000, 0)
    found = torch.stack([(drawn == s).all(1).float().mean() for s in truth.support[:20]])
    torch.testing.assert_close(found, truth.p[:20].float(), atol=0.005, rtol=0)
    spec = Spec(shape=(8,), vocab=9, end=0, codec={"symbols": grammar.WORDS})
    assert letters.decode(truth.support[0], spec).startswith("the fox ")
