"""Few-shot prompts: examples of what is asked, one behind another, stand before a question.

Brown et al. 2020, https://arxiv.org/abs/2005.14165. A form such as "{text}\\n{label}\\n\\n" says how an example is written: it names the column
of the question and that of the answer; a question is an example that breaks off where its answer begins.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from genctl.data._cells import columns
from genctl.errors import GenctlError, safe_text
from genctl.media import text as letters
from genctl.tasks.sample import Sampler

Say = Callable[[str], None]
Shots = list[tuple[str, str]]  # a question and its answer


@dataclass(frozen=True)
class Form:
    """How an example is written: `before` question `between` answer `behind`; the columns of the two."""

    before: str
    question: str
    between: str
    answer: str
    behind: str

    @classmethod
    def read(cls, form: str) -> "Form":
        """A line end may be written as \\n. Raises GenctlError (usage)."""
        parts = re.split(r"\{(\w+)\}", form.replace("\\n", "\n"))
        if len(parts) != 5 or not parts[2]:
            raise GenctlError(
                "usage", f"--form '{safe_text(form)}': names not two columns apart from each other", r"--form '{text}: {label}\n'"
            )
        return cls(*parts)

    def asked(self, question: str) -> str:
        """Up to where an answer begins."""
        return self.before + question + self.between

    def told(self, question: str, answer: str) -> str:
        """A whole example."""
        return self.asked(question) + answer + self.behind


def read(path: Path, form: Form) -> Shots:
    """The examples of a .csv or .tsv with a header, or of a .jsonl. Raises GenctlError (no-input, data-..., limit)."""
    return [(question, answer) for question, answer in columns(path, form.question, form.answer)]


def prompts(sampler: Sampler, shots: Shots, form: Form, questions: Sequence[str], warn: Say) -> list[str]:
    """The question as asked behind as many of the last examples as leave room for the longest answer. Raises GenctlError (power, prompt-token)."""
    if sampler.spec.media != "text" or any(sampler.spec.given[k].media == "text" for k in sampler.model.conditions):
        raise GenctlError("power", f"family '{sampler.recipe.family}' does not go on from examples", "genctl list powers")

    def size(text: str) -> int:
        return len(letters.encode(text, sampler.spec))

    written = [form.told(*shot) for shot in shots]
    room = sampler.spec.size - max(size(answer + form.behind) for _, answer in shots)
    found, least = [], len(shots)
    for question in map(form.asked, questions):
        left_out = bisect_left(range(len(shots)), True, key=lambda k, q=question: size("".join(written[k:]) + q) <= room)  # type: ignore[misc]
        found.append("".join(written[left_out:]) + question)
        least = min(least, len(shots) - left_out)
    if least < len(shots):
        warn(f"warning[prompt-length]: this model reads {sampler.spec.size} symbols: the last {least} of {len(shots)} examples fit")
    return found
