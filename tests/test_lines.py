"""Lines: each an example with an end, and back again."""

import pytest
import torch

from genctl import catalog
from genctl.data import lines as reader
from genctl.errors import GenctlError
from genctl.media import text as letters


def opened(tmp_path, text, **keys):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    return reader.open(reader.Config(path=str(path), **keys))


def everything(data):
    return [letters.decode(x, data.spec) for s in (data.train, data.valid, data.test) for x in s.batch(0, len(s)).x]


def test_each_line_is_an_example(tmp_path):
    said = [f"line {i}" + "!" * (i % 3) for i in range(20)]
    data = opened(tmp_path, "\r\n".join(said) + "\n\n")
    assert data.spec.shape == (10,) and data.spec.end == 0 and not data.notes
    assert sorted(everything(data)) == sorted(said)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [16, 2, 2]
    x = data.train.batch(0, 16).x
    assert x.dtype == torch.long and (x[:, -1] == 0).all()
    assert torch.equal(letters.encode(letters.decode(x[0], data.spec), data.spec), x[0][x[0] != 0])


def test_lines_that_are_too_long_are_left_out_and_counted(tmp_path):
    data = opened(tmp_path, "ab\nabc\nabcd\n", length=4, valid=0, test=0)
    assert [letters.decode(x, data.spec) for x in data.train.batch(0, 3).x] in (["ab", "abc"], ["abc", "ab"])
    assert "1 of 3 lines" in data.notes[0]
    with pytest.raises(GenctlError) as e:
        opened(tmp_path, "ab\nabc\n", length=2)
    assert e.value.id == "data-empty"


def test_no_path():
    with pytest.raises(GenctlError, match=r"data\.path"):
        reader.open(reader.Config())


def test_names_are_all_there(real_data):
    data = catalog.load("data", "names")
    found = data.open(data.Config())
    assert found.spec.shape == (16,) and found.spec.vocab == 27
    assert [len(s) for s in (found.train, found.valid, found.test)] == [25_627, 3_203, 3_203]
