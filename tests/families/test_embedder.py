"""embedder: the battery for each way to learn what is near, and its own truths: length one, and the contrast by brute force."""

import pytest
import torch

from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.families.helper.embedder import Embedder
from tests.battery import build, check_family, check_resume

BERT = {"family": "bert", "model": {"layers": 1, "heads": 2, "width": 16}}


def row(**given):
    return Spec(shape=(8,), vocab=6, end=0, given=given)


LABEL = row(label=Spec(shape=(), vocab=3))
PAIRS = row(other=Spec(shape=(6,), vocab=6, end=0), relatedness=Spec(shape=()))


def test_battery():
    check_family(Embedder, {"body": BERT, "near": "label", "dropout": 0.0}, LABEL, crowds=True)
    check_family(Embedder, {"body": BERT, "near": "relatedness", "dropout": 0.0}, PAIRS)
    check_family(Embedder, {"body": BERT, "dropout": 0.2}, row(), crowds=True, steps=80, descends=False)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(Embedder, {"body": BERT, "near": "label"}, LABEL, tmp_path, cut=cut, steps=8, batch=8)


def test_codes_have_length_one():
    net = build(Embedder, {"body": BERT}, row()).eval()
    with torch.no_grad():
        torch.testing.assert_close(net.encode(Batch(x=torch.randint(6, (5, 8)))).norm(dim=1), torch.ones(5))


def test_the_contrast_is_that_of_the_paper():
    """Khosla et al. 2020, eq. 2, by two loops; one text alone of its class counts nothing."""
    net = build(Embedder, {"body": BERT, "near": "label", "temperature": 0.5}, LABEL)
    z = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    kind = torch.tensor([0, 1, 0, 2, 1, 0])
    each = []
    for i in range(6):
        near = [j for j in range(6) if j != i and kind[j] == kind[i]]
        if near:
            whole = sum((z[i] @ z[j] / 0.5).exp() for j in range(6) if j != i)
            each.append(sum(-((z[i] @ z[j] / 0.5).exp() / whole).log() for j in near) / len(near))
    torch.testing.assert_close(net.contrast(z, kind), sum(each) / len(each))


def test_settings_that_fit_nothing_are_refused():
    for near in ("mood", "relatedness"):
        with pytest.raises(GenctlError, match="no class or number of pairs"):
            build(Embedder, {"body": BERT, "near": near}, row(relatedness=Spec(shape=())))
