"""The Typer application: every command of this room under one name, and usage errors in the house's form."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from genctl import __version__
from genctl.cli import (
    bench,
    chat,
    data,
    doctor,
    encode,
    evaluate,
    explain,
    export,
    find,
    importing,
    impute,
    interpolate,
    predict,
    reconstruct,
    repro,
    sample,
    score,
    search,
    train,
    translate,
    traverse,
)
from genctl.errors import GenctlError, safe_text

boxed = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
app = typer.Typer(
    name="genctl",
    help="Train, sample and score every family of generative model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if boxed else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"genctl {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print a traceback with an error (also GENCTL_DEBUG=1).")] = False,
) -> None:
    pass


app.command("train")(train.train)
app.command("sample")(sample.sample)
app.command("chat")(chat.chat)
app.command("eval")(evaluate.evaluate)
app.command("reconstruct")(reconstruct.reconstruct)
app.command("interpolate")(interpolate.interpolate)
app.command("traverse")(traverse.traverse)
app.command("impute")(impute.impute)
app.command("translate")(translate.translate)
app.command("score")(score.score)
app.command("predict")(predict.predict)
app.command("search")(search.search)
app.command("encode")(encode.encode)
app.command("explain")(explain.explain)
app.command("import")(importing.import_)
app.command("export")(export.export)
app.command("repro")(repro.repro)
app.command("list")(find.list_)
app.command("inspect")(find.inspect)
app.command("init")(find.init)
app.command("runs")(find.runs)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.add_typer(data.app, name="data")


def run(args: Sequence[str]) -> int:
    """Runs one command line and returns its exit status. Raises GenctlError for a wrong one."""
    try:
        code = app(args=list(args), prog_name="genctl", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.TyperException as e:
        if type(e).__name__ == "NoArgsIsHelpError":
            return 2
        context = getattr(e, "ctx", None)
        where = context.command_path if context else "genctl"
        message = e.format_message() if hasattr(e, "format_message") else str(e)
        raise GenctlError("usage", safe_text(" ".join(message.split()), 400), f"{where} --help") from None
    except SystemExit:
        raise BrokenPipeError from None  # how Typer answers a reader that went away
    except typer.Abort:
        return 130
