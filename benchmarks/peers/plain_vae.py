"""A textbook VAE and its trainer: probabilities out of a sigmoid, a DataLoader, Adam, one epoch at a time."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class PlainVAE(nn.Module):
    def __init__(self, size: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(size, hidden), nn.ReLU())
        self.mu, self.logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, size), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        reconstruction = F.binary_cross_entropy(self.decoder(z), x, reduction="none").sum(1)
        kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1)
        return (reconstruction + kl).mean()


def epoch(model: PlainVAE, optimizer: torch.optim.Optimizer, loader: DataLoader) -> float:
    """One pass over the data; the mean loss."""
    total = 0.0
    for (x,) in loader:
        optimizer.zero_grad()
        loss = model(x)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


def loader(x: Tensor, batch: int) -> DataLoader:
    return DataLoader(TensorDataset(x), batch_size=batch, shuffle=True)
