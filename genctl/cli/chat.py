"""genctl chat"""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from genctl.cli import options, show
from genctl.errors import GenctlError, safe_text

LONGEST = 2**20  # characters of a line
HELP = "/reset begins anew, /save FILE adds the conversation to a .jsonl, /quit ends"


def chat(
    ckpt: options.Ckpt,
    system: Annotated[str, typer.Option(metavar="TEXT", help="What stands before each conversation.")] = "",
    set_: options.Set = None,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Add each conversation to this .jsonl when it ends.")] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Talk with a model of dialogues.

    Each line of the input is answered; /reset begins anew, /save FILE keeps what was said, /quit ends.

    Example: genctl chat --ckpt runs/latest --set temperature=0.7
    """
    from genctl.tasks import chat as task
    from genctl.tasks import sample

    sampler = sample.Sampler.load(ckpt, device, show.say)
    talk = task.Chat(sampler, sampler.draw(set_), seed, system, show.say)
    if save:
        talk.save(save)  # what cannot be written is said before a word is
    if sys.stdin.isatty():
        show.say(HELP)
    done: list[dict[str, Any]] = []

    def over() -> None:
        """The conversation ends."""
        if talk.answered:
            done.append(talk.plain())
        if save:
            talk.save(save)
        talk.reset()

    def heard(line: str) -> None:
        command, _, rest = line.partition(" ")
        if command == "/reset":
            over()
        elif command == "/save" and rest.strip():
            talk.save(Path(rest.strip()).expanduser())
        elif line.startswith("/"):
            raise GenctlError("usage", f"{safe_text(command, 40)} is no command: {HELP}", "a space in front makes it a text")
        elif line.strip():
            talk.answer(line.strip(), (lambda text: None) if as_json else show.write)
            if not as_json:
                show.write("\n")

    try:
        converse(heard)
    finally:
        over()
    if as_json:
        show.result({"seed": seed, "conversations": done}, as_json, [])


def converse(heard: Callable[[str], None]) -> None:
    """Line by line, up to /quit or the end of the input. What a command says against it, and one Ctrl-C, end no conversation; two in a row do."""
    struck = False
    while True:
        try:
            line = _line()
            if line is None or line.strip() == "/quit":
                return
            struck = False
            heard(line)
        except KeyboardInterrupt:
            if struck:
                raise
            struck = True
            show.say("\nonce more ends")
        except GenctlError as e:
            if e.id not in ("usage", "out-unwritable"):
                raise
            show.say(str(e))


def _line() -> str | None:
    """The next line; None at the end. Raises GenctlError (data-encoding, limit)."""
    try:
        if sys.stdin.isatty():
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401  lets one edit the line
            return input("> ")
        line = sys.stdin.readline(LONGEST)
    except EOFError:
        return None
    except UnicodeDecodeError as e:
        raise GenctlError("data-encoding", f"the input: byte 0x{e.object[e.start]:02x} is not UTF-8", "type or send UTF-8") from None
    if len(line) == LONGEST:
        raise GenctlError("limit", f"a line of more than {LONGEST:,} characters", "a shorter one")
    return line.rstrip("\r\n") if line else None
