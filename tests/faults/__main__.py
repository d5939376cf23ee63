"""Runs the rows of the fault list and prints their table: python -m tests.faults --run 1-42 --scale 20"""

import argparse
import os
import re
import sys
from pathlib import Path

import pytest


class Table:
    """Collects what every row's tests said."""

    def __init__(self) -> None:
        self.rows: dict[int, list[tuple[str, str, float, str]]] = {}

    def pytest_runtest_logreport(self, report) -> None:
        found = re.search(r"::test_(\d\d)_", report.nodeid)
        if not found or (report.when != "call" and report.outcome == "passed"):
            return
        figure = "; ".join(str(v) for k, v in report.user_properties if k == "figure")
        if report.outcome == "skipped":
            figure = str(report.longrepr[2]).removeprefix("Skipped: ")
        name = report.nodeid.split("::")[1].split("[")[0][8:].replace("_", " ")
        self.rows.setdefault(int(found[1]), []).append((name, report.outcome, report.duration, figure))

    def text(self) -> str:
        lines = ["| row | what | result | seconds | figures |", "|---|---|---|---|---|"]
        for number, tests in sorted(self.rows.items()):
            names = dict.fromkeys(t[0] for t in tests)
            outcomes = [t[1] for t in tests]
            counts = ", ".join(f"{outcomes.count(o)} {o}" for o in ("passed", "failed", "skipped") if o in outcomes)
            figures = "; ".join(dict.fromkeys(t[3] for t in tests if t[3]))
            lines.append(f"| {number} | {'; '.join(names)} | {counts} | {sum(t[2] for t in tests):.1f} | {figures} |")
        return "\n".join(lines)


def numbers(text: str) -> set[int]:
    """1-3,7 as {1, 2, 3, 7}."""
    out: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        out |= set(range(int(low), int(high or low) + 1))
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--run", default="1-42", help="rows, as 1-42 or 3,7-9")
    parser.add_argument("--scale", type=float, default=1, help="multiplies the number of kills, flips and mutants")
    parser.add_argument("--out", type=Path, help="write the table here too")
    args = parser.parse_args()
    os.environ["FAULTS_SCALE"] = str(args.scale)
    table, home = Table(), Path(__file__).parent
    wanted = " or ".join(f"test_{n:02d}_" for n in sorted(numbers(args.run)))
    code = pytest.main([str(home), "-q", "--no-header", "-m", "", "-k", wanted, "--durations=0", "--durations-min=5"], plugins=[table])
    print(table.text())
    if args.out:
        args.out.write_text(table.text() + "\n", encoding="utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
