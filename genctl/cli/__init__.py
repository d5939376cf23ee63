"""The command line. Each command is a file of this room: it parses, calls one task and prints; heavy imports stand inside."""

import os
import sys
from collections.abc import Sequence

from genctl import __version__
from genctl.errors import GenctlError, Stopped, safe_text


def main(argv: Sequence[str] | None = None) -> None:
    """The `genctl` program. Exits with a status of errors.EXIT."""
    _open_streams()
    args = list(sys.argv[1:] if argv is None else argv)
    if args == ["--version"]:
        print(f"genctl {__version__}")
        raise SystemExit(0)
    debug = "--debug" in args or bool(os.environ.get("GENCTL_DEBUG"))
    as_json = "--json" in args
    try:
        from genctl.cli.app import run

        code = run([a for a in args if a != "--debug"])
        sys.stdout.flush()
    except GenctlError as e:
        code = tell(e, as_json, debug)
    except Stopped as e:
        code = e.code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `genctl ... | head`
        code = 0
    except (MemoryError, RuntimeError, OSError) as e:
        code = tell(known(e), as_json, debug)
    except Exception as e:
        code = tell(bug(e), as_json, debug)
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries to write the rest once more at its end
    if os.environ.get("WORLD_SIZE", "1") != "1":
        os._exit(code)  # a rank: torch's threads that ask for Python's lock while it is taken down would abort the process
    raise SystemExit(code)


def _open_streams() -> None:
    """Closed streams become /dev/null, so that no file a command opens takes their place; text that fits no encoding is escaped."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, "w" if fd else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def known(e: BaseException) -> GenctlError:
    """Errors of the machine in the house's words; anything else is a bug."""
    text = str(e)
    if (
        isinstance(e, MemoryError)
        or type(e).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator" in text
        or "MPS backend out of memory" in text
    ):
        return GenctlError("oom", "out of memory", "a smaller train.batch, or train.accumulate=2 for half the memory at the same batch")
    if isinstance(e, OSError) and e.errno:
        return GenctlError("io", safe_text(text))
    if "Connection closed by peer" in text or "Connection reset by peer" in text or "recv timeout" in text.lower():
        return GenctlError("peer-lost", "another rank ended or does not answer", "start again with --resume")
    return bug(e)


def bug(e: BaseException) -> GenctlError:
    return GenctlError(
        "internal", f"{type(e).__name__}: {safe_text(e, 300)}", "this is a bug in genctl: run again with --debug and report what it prints"
    )


def tell(e: GenctlError, as_json: bool, debug: bool) -> int:
    """Prints an error once; the traceback too when asked."""
    if debug:
        import traceback

        traceback.print_exc()
    try:
        if as_json and not e.told:
            import json

            print(json.dumps({"error": {"id": e.id, "code": e.code, "message": "; ".join(e.lines), "hint": e.try_}}), flush=True)
        elif not e.told:
            print(e, file=sys.stderr)
    except OSError:
        pass  # nobody listens; the exit status says it too
    return e.code
