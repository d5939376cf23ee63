"""A trainer warmed once and forked many times, each fork killed at a random instant: python -m tests.faults.zygote RUN KILLS SEED

Prints one JSON object: kills, how many fell inside a save, steps acknowledged, and every violation found by the independent checker.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.faults import checker, tools


def child(run: Path, pipe: int) -> None:
    """Trains for ever, and says each acknowledged step on the pipe."""
    from genctl.tasks import train

    class Say:
        def say(self, text: str) -> None:
            if text.startswith(("saved", "resumed", "run ")):
                os.write(pipe, f"{text}\n".encode())

        def step(self, *rest: object) -> None:
            pass

        def close(self) -> None:
            pass

    names = [
        (t, None) for t in (*tools.TINY[1:], "train.steps=100000000", "train.save_every=1", "train.log_every=1000000", "train.threads=1")
    ]
    fresh = not checker.steps(run / "checkpoints")
    if fresh:
        import shutil

        shutil.rmtree(run, ignore_errors=True)
    request = (
        train.Request(recipe=tools.TINY[0], overrides=names, out=run, device="cpu") if fresh else train.Request(resume=run, device="cpu")
    )
    train.train(request, Say())


def main(run: Path, kills: int, seed: int) -> dict:
    import torch

    from genctl import recipe
    from genctl.tasks import train

    plan, _ = recipe.read(tools.TINY[0], [])
    dataset = train.open_data(plan)
    dataset.train.fingerprint()
    torch.set_num_threads(1)  # threads do not survive a fork
    weight = next(train.fresh_model(plan, dataset, 0).parameters())
    weight.grad = torch.zeros_like(weight)
    torch.optim.AdamW([weight], fused=True).step()  # a first step imports for seconds
    train.open_data = lambda plan: dataset  # read once, here; every child shares it
    random.seed(seed)
    wrong: list[str] = []
    acked, inside, most = 0, 0, 0
    for kill in range(kills):
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                child(run, into)
            finally:
                os._exit(99)
        os.close(into)
        file = os.fdopen(out, "rb")
        early = [file.readline() for _ in range(1 if kill else 2)]  # the clock starts when training does; the first run gets one step far
        time.sleep(random.uniform(0.002, 0.3))
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        with file:
            said = (b"".join(early) + file.read()).decode().splitlines()
        if not os.WIFSIGNALED(status):
            wrong.append(f"kill {kill}: the trainer ended by itself")
        for line in said:
            number = int(line.split()[2]) if line.startswith("saved step") else int(line.split()[-1]) if line.startswith("resumed") else 0
            if line.startswith("resumed") and number < acked:
                wrong.append(f"kill {kill}: resumed from {number}, {acked} was acknowledged")
            acked = max(acked, number)
        home = run / "checkpoints"
        if home.is_dir():
            left = checker.leftovers(home)
            inside += bool(left)
            most = max(most, sum(name.startswith(".tmp-") for name in left))
        newest = max(checker.whole(home), default=0) if acked else 0
        if newest < acked:
            wrong.append(f"kill {kill}: step {acked} was acknowledged, the newest whole one is {newest}")
        damaged = [n for n in checker.steps(home) if checker.problem(home / f"step-{n:010d}")] if acked else []
        if damaged:
            wrong.append(f"kill {kill}: step {damaged[0]} is visible and damaged")
    if most > 1:
        wrong.append(f"{most} temporary folders at once")
    return {"kills": kills, "inside_a_save": inside, "acknowledged": acked, "violations": wrong}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
