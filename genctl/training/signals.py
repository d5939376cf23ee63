"""Signals as flags: the first asks for a stop after this step, a second ends the process at once, USR1 asks for a save.

Before the first step and after the last there is nothing to save: there a signal raises Stopped where the program stands.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any

from genctl.errors import Stopped

DEADLINE = 20.0  # seconds from the first signal to a hard exit; torchrun itself waits 30


class Signals:
    """Installs handlers for INT, TERM, HUP and USR1, except those that were ignored at the start (nohup)."""

    def __init__(self) -> None:
        self.stop, self.save, self.stepping = 0, False, False
        self.old: dict[int, Any] = {}
        self.watchdog: threading.Timer | None = None

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self.old[number] = signal.signal(number, self.handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)
        if self.watchdog:
            self.watchdog.cancel()

    def handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self.save = True
        elif self.stop:
            os._exit(128 + number)
        else:
            self.stop = number
            self.watchdog = threading.Timer(DEADLINE, os._exit, (128 + number,))
            self.watchdog.daemon = True
            self.watchdog.start()
            name = signal.Signals(number).name
            tell(f"stopping after this step (signal {name})" if self.stepping else f"stopping: no step has begun (signal {name})")
            if not self.stepping:
                raise Stopped(number)


def tell(text: str) -> None:
    """A line on stderr by one system call: print() inside a handler can meet a print() that it interrupts."""
    try:
        os.write(2, f"{text}\n".encode())
    except OSError:
        pass
