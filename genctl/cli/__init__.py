"""The command line. Each command is a file of this room: it parses, calls one task and prints; heavy imports stand inside."""

import os
import sys
from collections.abc import Sequence

from genctl import __version__
from genctl.errors import GenctlError, Stopped, safe_text


def main(argv: Sequence[str] | None = None) -> None:
    """The `genctl` program. Exits with a status of errors.EXIT."""
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
    except BrokenPipeError:
        code = 0
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except (MemoryError, RuntimeError, OSError) as e:
        code = tell(known(e), as_json, debug)
    except Exception as e:
        code = tell(bug(e), as_json, debug)
    raise SystemExit(code)


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
    if as_json:
        import json

        print(json.dumps({"error": {"id": e.id, "code": e.code, "message": "; ".join(e.lines), "hint": e.try_}}))
    else:
        print(e, file=sys.stderr)
    return e.code
