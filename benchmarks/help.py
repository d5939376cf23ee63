"""Start-up: CPU time of `genctl --help` against `transformers --help` and the floor, `import typer`, interleaved.

python benchmarks/help.py            goal: 12 times quicker than transformers
"""

import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
SYSTEMS = {
    "genctl --help": [str(BIN / "genctl"), "--help"],
    "import typer": [sys.executable, "-c", "import typer"],
    "transformers --help": [str(BIN / "transformers"), "--help"],
}


def cpu_ms(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    here = {name: command for name, command in SYSTEMS.items() if shutil.which(command[0])}
    times: dict[str, list[float]] = {name: [] for name in here}
    for turn in range(10):
        for name, command in here.items():
            took = cpu_ms(command)
            if turn:
                times[name].append(took)
    print("| command | CPU ms (median of 9) | range |\n| --- | --- | --- |")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.0f} | {min(values):.0f} to {max(values):.0f} |")
    if "transformers --help" in times:
        print(f"\nratio: {statistics.median(b / a for a, b in zip(times['genctl --help'], times['transformers --help'])):.1f}")
