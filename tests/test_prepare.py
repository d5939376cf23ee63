"""data prepare against a server on the loopback, and .pth files read without unpickling."""

import gzip
import hashlib
import http.server
import threading
import types
from collections import OrderedDict

import pytest
import torch

from genctl import catalog
from genctl.errors import GenctlError
from genctl.tasks import prepare, torchfile
from genctl.tasks.prepare import Remote

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def mirror(tmp_path):
    """A server that gives out a folder; counts what it was asked for."""
    home = tmp_path / "served"
    home.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(home))

        def log_message(self, *args):
            asked.append(self.path)

    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield types.SimpleNamespace(home=home, url=f"http://127.0.0.1:{server.server_port}", asked=asked)
    server.shutdown()
    thread.join()
    server.server_close()


def remote(content=CONTENT, name="x.bin"):
    return Remote((f"https://nowhere.invalid/{name}",), len(content), hashlib.sha256(content).hexdigest())


def test_fetches_once_and_checks(mirror, tmp_path):
    (mirror.home / "x.bin").write_bytes(CONTENT)
    target = tmp_path / "out" / "x.bin"
    for _ in range(2):
        assert prepare.fetch(target, remote(), mirror.url, lambda t: None).read_bytes() == CONTENT
    assert len(mirror.asked) == 1


def test_a_packed_file_is_known_by_its_content(mirror, tmp_path):
    (mirror.home / "x.gz").write_bytes(gzip.compress(CONTENT, 1))
    target = prepare.fetch(tmp_path / "x.gz", remote(name="x.gz"), mirror.url, lambda t: None)
    assert gzip.decompress(target.read_bytes()) == CONTENT


@pytest.mark.parametrize("served", [CONTENT[:-1] + b"!", CONTENT[:-1]], ids=["changed", "short"])
def test_another_content_is_refused_and_nothing_written(mirror, tmp_path, served):
    (mirror.home / "x.bin").write_bytes(served)
    with pytest.raises(GenctlError) as e:
        prepare.fetch(tmp_path / "x.bin", remote(), mirror.url, lambda t: None)
    assert e.value.id == "data-bad"
    assert not (tmp_path / "x.bin").exists()


def test_a_bomb_is_not_unpacked(mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(
        prepare,
        "_download",
        lambda url, size, real=prepare._download: real(url, size) if "127" in url else (_ for _ in ()).throw(OSError("no")),
    )
    (mirror.home / "x.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(GenctlError) as e:
        prepare.fetch(tmp_path / "x.gz", remote(name="x.gz"), mirror.url, lambda t: None)
    assert e.value.id == "io"


def test_unknown_names_and_no_place():
    with pytest.raises(GenctlError) as e:
        prepare.prepare("nothing", None, None, lambda t: None)
    assert e.value.id == "usage"


@pytest.mark.parametrize("name", [n for n in catalog.entries("data") if hasattr(catalog.load("data", n), "REMOTE")])
def test_pins_fit_the_real_files(name, real_data, tmp_path):
    from pathlib import Path

    for file, (_, size, sha) in catalog.load("data", name).REMOTE.items():
        assert prepare._digest(Path(real_data) / name / file) == (size, sha)


def test_a_set_goes_where_the_reader_looks(mirror, tmp_path, monkeypatch):
    fake = types.SimpleNamespace(REMOTE={"x.bin": (["https://nowhere.invalid/x.bin"], len(CONTENT), hashlib.sha256(CONTENT).hexdigest())})
    monkeypatch.setattr(catalog, "load", lambda room, name: fake)
    monkeypatch.setenv("GENCTL_DATA", str(tmp_path / "data"))
    (mirror.home / "x.bin").write_bytes(CONTENT)
    assert prepare.prepare("digits", None, mirror.url, lambda t: None) == [tmp_path / "data" / "digits" / "x.bin"]


STATE = OrderedDict(a=torch.arange(6.0).view(2, 3), b=torch.tensor(3), c=torch.randn(4, 4).t(), d=torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("zipped", [True, False])
def test_pth_files_are_read_without_unpickling(tmp_path, zipped):
    torch.save(STATE, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    found = torchfile.read(tmp_path / "x.pth")
    assert found.keys() == STATE.keys()
    for k, v in STATE.items():
        assert torch.equal(found[k], v)


class Evil:
    def __reduce__(self):
        return (open, ("/tmp/genctl-evil", "w"))


@pytest.mark.parametrize("value", [{"a": Evil()}, [1, 2], Evil(), {"a": torch.nn.Linear(2, 2)}], ids=["call", "list", "object", "module"])
def test_anything_else_in_a_pth_is_refused(tmp_path, value):
    from pathlib import Path

    torch.save(value, tmp_path / "x.pth")
    with pytest.raises(GenctlError) as e:
        torchfile.read(tmp_path / "x.pth")
    assert e.value.id == "ckpt-format"
    assert not Path("/tmp/genctl-evil").exists()


def test_broken_pth_files_are_refused(tmp_path):
    torch.save(STATE, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    raw = (tmp_path / "x.pth").read_bytes()
    for cut in range(len(raw)):
        (tmp_path / "y.pth").write_bytes(raw[:cut])
        with pytest.raises(GenctlError):
            torchfile.read(tmp_path / "y.pth")
