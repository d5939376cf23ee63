"""genctl doctor"""

from typing import Annotated

import typer

from genctl.cli import show


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Show versions, devices, what this machine can and cannot do, and the environment variables genctl reads.

    Example: genctl doctor
    """
    from genctl.tasks import doctor as task

    found = task.doctor()
    show.result(found, as_json, [f"{k}: {v}" for k, v in found.items()])
