"""Fashion-MNIST: 70,000 pictures of clothes of 28x28 grey levels, in ten classes.

Xiao, Rasul and Vollgraf 2017, https://arxiv.org/abs/1708.07747. Split as MNIST: 50,000, 10,000 (the last of the published
60,000) and 10,000.
"""

from typing import Literal

from genctl.data import Dataset, find
from genctl.data._idx import WANTS, IdxConfig, open_folder, remote

CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]

REMOTE = remote(
    (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        "https://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ),
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)


class Config(IdxConfig):
    name: Literal["fashion-mnist"] = "fashion-mnist"
    """Pictures of clothes."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-mismatch, config."""
    return open_folder(find("fashion-mnist", config.path, WANTS), config, CLASSES)
