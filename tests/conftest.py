"""What every test runs under: one thread, no colour, no network but the loopback, nothing written outside its own folder,
signals as a terminal has them."""

import os
import signal
import sys

os.environ.update(OMP_NUM_THREADS="1", NO_COLOR="1", TERM="dumb", COLUMNS="100", HF_HUB_OFFLINE="1", GENCTL_OFFLINE="1")
os.environ.pop("FORCE_COLOR", None)

import pytest
import torch

torch.set_num_threads(1)  # tiny tensors: a second thread only waits

# A suite in the background (nohup, `&`) starts with signals ignored, and so would every run that it tests.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


def _no_network(event: str, args: tuple) -> None:
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in ("127.0.0.1", "::1", "localhost"):
        raise AssertionError(f"a test reached for the network: {args[1]}")


sys.addaudithook(_no_network)


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    """The cache and the runs of a test are its own."""
    monkeypatch.setenv("GENCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GENCTL_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def real_data():
    """The folder of real data sets; a test that needs it skips without it."""
    root = os.environ.get("GENCTL_DATA")
    if not root or not os.path.isdir(root):
        pytest.skip("needs real data: set GENCTL_DATA")
    return root
