"""fid against torch-fidelity: the same features, and the same distance, from random weights.

Run it with torch-fidelity and tqdm on the path: pip install --no-deps --target DIR torch-fidelity tqdm; PYTHONPATH=DIR pytest -m oracle.
torch-fidelity imports torchvision, of which it uses nothing here: names stand in for it.
"""

import importlib
import importlib.util
import sys
import types

import pytest
import torch

from genctl.metrics import _frechet, _inception, kid

pytestmark = pytest.mark.oracle


@pytest.fixture
def fidelity(monkeypatch):
    """The module torch_fidelity, skipped where it is not installed."""
    if importlib.util.find_spec("torch_fidelity") is None:
        pytest.skip("needs torch-fidelity")
    if importlib.util.find_spec("torchvision") is None:
        made = {name: types.ModuleType(name) for name in ("torchvision", "torchvision.datasets", "torchvision.transforms")}
        made["torchvision.transforms.functional"] = types.ModuleType("torchvision.transforms.functional")
        for name, module in made.items():
            parent, _, last = name.rpartition(".")
            if parent:
                setattr(made[parent], last, module)
            monkeypatch.setitem(sys.modules, name, module)
        for name in ("CIFAR10", "STL10", "CIFAR100"):
            setattr(made["torchvision.datasets"], name, type(name, (), {}))
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("torch_fidelity")


@pytest.fixture
def both(fidelity, tmp_path):
    """(theirs, ours): the same random weights in float64."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = _inception.random_weights()
    path = tmp_path / "weights.pth"
    torch.save(weights, path)
    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path), feature_extractor_internal_dtype="float64"
    )
    return theirs.eval(), _inception.Inception(weights, "", "tensorflow", dtype=torch.float64)


def pictures(n: int, seed: int) -> torch.Tensor:
    """(n, 3, 32, 32) uint8: noise, darker for higher seeds."""
    g = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 256, (n, 3, 32, 32), generator=g) >> seed).to(torch.uint8)


def test_fid_and_kid_equal_torch_fidelity(fidelity, both):
    """64 images a side, float64, 1e-4 relative."""
    import numpy as np
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kernel_mmd

    theirs, ours = both
    x, y = pictures(64, 0), pictures(64, 1)
    with torch.no_grad():
        a, b = (torch.cat([theirs(part)[0] for part in side.split(16)]) for side in (x, y))
    c, d = (ours(side.float() / 255) for side in (x, y))
    assert torch.allclose(a.double(), c, rtol=1e-4, atol=1e-5)
    one = fid_statistics_to_metric(fid_features_to_statistics(a), fid_features_to_statistics(b), False)
    wanted, found = next(iter(one.values())), _frechet.frechet(c, d)
    print(f"fid {found:.7f}, torch-fidelity {wanted:.7f}, relative difference {abs(found - wanted) / wanted:.1e}")
    assert abs(found - wanted) < 1e-4 * wanted
    poly = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1.0}
    mmd = kernel_mmd(np.asarray(a, np.float64), np.asarray(b, np.float64), **poly)
    assert abs(kid.mmd2(c, d) - float(mmd)) < 1e-4 * abs(float(mmd))


def test_the_resizes_equal_their_originals(fidelity):
    """torch-fidelity's copy of TensorFlow's, and pytorch-fid's call of torch."""
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    x = pictures(2, 0).double()
    wanted = (interpolate_bilinear_2d_like_tensorflow1x(x, size=(299, 299), align_corners=False) - 128) / 128
    assert torch.allclose(_inception.tensorflow(x / 255), wanted, atol=1e-6)
