"""genctl bench"""

from typing import Annotated

import typer

from genctl.cli import show
from genctl.cli.train import overrides


def bench(
    source: Annotated[str, typer.Argument(metavar="RECIPE|CKPT", help="What to measure.")],
    changes: Annotated[list[str] | None, typer.Argument(metavar="[a.b=c]...", help="Overrides of single keys.")] = None,
    what: Annotated[str, typer.Option(help="train, sample or log_prob.")] = "train",
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="How long to measure.")] = 5.0,
    threads: Annotated[int, typer.Option(min=0, max=4096, help="CPU threads; 0: torch's choice.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure how fast a recipe trains, samples or scores here, beside the machine's limit.

    Example: genctl bench vae-digits --what sample
    """
    from genctl.tasks import bench as task

    found = task.bench(source, what, seconds, threads, device, overrides(changes, None, {}))
    lines = [
        f"{found['workload']}: {found['figure']:,} {found['unit']} on {found['device']}, {found['threads']} threads",
        f"{found['fraction_of_peak']:.1%} of the {found['gemm_peak_gflops']} GFLOP/s of a matrix product; {found['peak_memory_mb']} MB",
    ]
    show.result(found, as_json, lines)
