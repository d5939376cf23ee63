"""How many calls of the network a draw needs: the distance of samples to the data for each solver at 5, 10, 15, 20 and 50 calls.

    python benchmarks/solvers.py RUN [--n 2000] [--metric fd_classifier] [--out docs/solvers.md]

One checkpoint, one seed; DDPM's own way with a thousand calls stands beside them. Prints a table; with --out it is written between the
markers of the page.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from genctl.tasks import evaluate

BEGIN, END = "<!-- begin: written by benchmarks/solvers.py; do not edit -->", "<!-- end -->"
CALLS = (5, 10, 15, 20, 50)
SOLVERS = ("euler", "ancestral", "heun", "dpmpp_2m", "unipc")


def distance(run: Path, metric: str, n: int, solver: str, calls: int, more: list[str]) -> tuple[float, float]:
    """The figure and its standard error."""
    draw = [f"solver={solver}", f"steps={calls}", *more]
    ask = evaluate.Request(metrics=[metric], ckpt=run, n=n, draw=draw, device="cpu")
    found = evaluate.evaluate(ask, lambda text: None)["results"][metric]
    return found["value"], found["se"] or 0.0


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", type=Path)
    p.add_argument("--n", type=int, default=2000)
    p.add_argument("--metric", default="fd_classifier")
    p.add_argument("--slow", type=int, default=1000, help="calls of DDPM's own way; 0: leave it out")
    p.add_argument("--set", dest="more", action="append", default=[], help="another key of the draw")
    p.add_argument("--out", type=Path)
    ask = p.parse_args()
    rows = ["| solver | " + " | ".join(f"{c} calls" for c in CALLS) + " |", "| --- |" + " --- |" * len(CALLS)]
    for solver in SOLVERS:
        found = [distance(ask.run, ask.metric, ask.n, solver, calls, ask.more) for calls in CALLS]
        rows.append(f"| {solver} | " + " | ".join(f"{value:.3g} +- {se:.1g}" for value, se in found) + " |")
        print(rows[-1], flush=True)
    if ask.slow:
        value, se = distance(ask.run, ask.metric, ask.n, "ancestral", ask.slow, ask.more)
        rows.append(f"\nDDPM's own way with {ask.slow:,} calls: {value:.3g} +- {se:.1g}.")
        print(rows[-1], flush=True)
    if ask.out:
        head, rest = ask.out.read_text(encoding="utf-8").split(BEGIN)
        table = "\n".join(rows)
        said = f"{ask.run.name}, {ask.metric}, {ask.n:,} samples."
        ask.out.write_text(f"{head}{BEGIN}\n\n{said}\n\n{table}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
