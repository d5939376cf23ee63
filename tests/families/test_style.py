"""Style transfer: the battery, and truths of its own: whose style it is, that content and style are what they should be, any size."""

import pytest
import safetensors.torch
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.translation.style import Style, gram
from genctl.maths import noise
from genctl.nets.vgg import KEYS, VGG
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume

OTHER = Spec(shape=(3, 16, 16), levels=256, media="image")
TWO = Spec(shape=(3, 16, 16), levels=256, given={"other": OTHER}, media="image")
SMALL = {"random_width": 4}
NETWORK = {**SMALL, "way": "network", "width": 4, "blocks": 1, "look": 0.3}
QUICK = Style.Draw(steps=30, rate=0.05)


@pytest.mark.parametrize("model", [{**SMALL, "content_layer": "conv1_1", "style_layers": ["conv1_1"]}, {**NETWORK, "smooth": 0.1}])
def test_battery(model):
    check_family(Style, model, TWO, steps=12, descends=False, certain=True)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(Style, NETWORK, TWO, tmp_path, cut=cut, steps=8, batch=8)


def looked(model: Style, x: torch.Tensor) -> Style:
    model.train().look(Batch(x=x), Progress())
    return model.eval()


def test_the_style_is_the_mean_gram_of_all_that_was_looked_at():
    model = build(Style, SMALL, TWO).train()
    batches = [torch.rand(4, 3, 16, 16) for _ in range(3)]
    for x in batches:
        model.look(Batch(x=x), Progress())
    found = model.vgg(torch.cat(batches), model.layers)["conv3_1"]
    torch.testing.assert_close(model.gram_conv3_1, gram(found).mean(0))


def test_the_loss_is_nothing_where_content_and_style_are_one_picture():
    x = torch.rand(1, 3, 16, 16)
    model = looked(build(Style, SMALL, TWO), x)
    told, style, _ = model.cost(x, x)
    assert told.item() == 0 and style.item() < 1e-8
    moved = x.flip(-1)
    told, style, _ = model.cost(moved, x)
    assert told.item() > 0.05


def test_gram_forgets_places():
    features = torch.rand(2, 3, 4, 5)
    shuffled = features.flatten(2)[:, :, torch.randperm(20)].view_as(features)
    torch.testing.assert_close(gram(features), gram(shuffled))


def test_painting_comes_nearer_to_the_style_and_each_picture_by_itself():
    stripes = (torch.arange(16) % 4 < 2).float().expand(1, 3, 16, 16)
    model = looked(build(Style, {**SMALL, "style": 10.0}, TWO), stripes)
    content = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = model.sample(2, QUICK, {"other": content})
        pair, alone = (model.sample(k, Style.Draw(steps=3), {"other": content[:k]})[0] for k in (2, 1))
    assert x.min() >= 0 and x.max() <= 1 and not x.requires_grad
    torch.testing.assert_close(pair, alone, rtol=1e-3, atol=1e-3)
    assert (model.cost(x, content)[1] < 0.5 * model.cost(content, content)[1]).all()


def test_any_height_and_width():
    for model in (looked(build(Style, SMALL, TWO), torch.rand(2, 3, 16, 16)), build(Style, NETWORK, TWO).eval()):
        with torch.no_grad(), noise.stream(0):
            assert model.sample(1, Style.Draw(steps=1), {"other": torch.rand(1, 3, 13, 22)}).shape == (1, 3, 13, 22)


def test_a_network_learns_the_style():
    stripes = (torch.arange(16) % 4 < 2).float().expand(8, 3, 16, 16)
    model = build(Style, {**NETWORK, "width": 8, "look": 0.05, "style": 100.0}, TWO)
    plain = [torch.rand(8, 3, 1, 1, generator=torch.Generator().manual_seed(k)).expand(-1, -1, 16, 16) for k in range(81)]
    loop.fit(
        model.train(),
        lambda i: Batch(x=stripes, given={"other": plain[i % 80]}),
        loop.Setting(Train(steps=80, lr=3e-3, batch=8)),
        lambda *a: False,
    )
    with torch.no_grad():
        x = model.eval().sample(8, QUICK, {"other": plain[80]})
    assert float(model.cost(x, plain[80])[1].mean()) < 0.5 * float(model.cost(plain[80], plain[80])[1].mean())


def test_weights_of_a_file_are_read_when_training_begins_and_kept(tmp_path):
    whole = VGG("conv2_1")
    held = {f"features.{k}.{part}": torch.randn_like(getattr(c, part)) for k, c in zip(KEYS, whole.convs) for part in ("weight", "bias")}
    file = tmp_path / "vgg.safetensors"
    safetensors.torch.save_file(held, file)
    model = build(Style, {"weights": str(file), "content_layer": "conv2_1", "style_layers": ["conv1_1"]}, TWO)
    with torch.no_grad():
        model.stages()[0].enter()
    assert torch.equal(model.state_dict()["vgg.convs.0.weight"], held["features.0.weight"])


def test_two_kinds_of_pictures_are_needed():
    with pytest.raises(GenctlError, match="unpaired"):
        build(Style, SMALL, OTHER)
