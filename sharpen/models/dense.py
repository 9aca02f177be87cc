"""The layers of Dense modules, which map the pooled vector to the embedding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sharpen.models import model_check
from sharpen.models.architecture import DenseConfig


class Dense(nn.Module):
    """A linear layer and an activation; the weights have the names that they have in sentence-transformers."""

    def __init__(self, config: DenseConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.in_features, config.out_features, bias=config.bias)
        self.activation: nn.Module = getattr(nn, config.activation)()
        if "residual.weight" in config.shapes:
            self.residual = nn.Linear(config.in_features, config.out_features, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, in_features) -> (n, out_features)."""
        mapped = self.activation(self.linear(vectors))
        if not self.config.residual:
            return mapped
        return mapped + (self.residual(vectors) if hasattr(self, "residual") else vectors)


class DenseLayers(nn.Sequential):
    """The Dense modules of a tower, one after another; of none a vector comes out as it went in."""

    def __init__(self, *layers: Dense) -> None:
        super().__init__(*layers)

    @classmethod
    def load(cls, folder: Path, configs: Sequence[DenseConfig]) -> DenseLayers:
        """Those of a model's folder, as `read_architecture` gives them, in float32."""
        layers = []
        for config in configs:
            with torch.device("meta"):
                layer = Dense(config)
            weights = load_file(folder / config.path / model_check.WEIGHTS)
            layer.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
            layers.append(layer.requires_grad_(True))
        return cls(*layers)

    @property
    def configs(self) -> list[DenseConfig]:
        """Of each module."""
        return [layer.config for layer in self if isinstance(layer, Dense)]

    def save(self, folder: Path, configs: Sequence[DenseConfig]) -> None:
        """Write the weights into the folders of `configs` below the model's `folder`."""
        for layer, config in zip(self, configs, strict=True):
            (folder / config.path).mkdir(parents=True, exist_ok=True)
            weights = {name: tensor.detach().cpu().contiguous() for name, tensor in layer.state_dict().items()}
            save_file(weights, folder / config.path / model_check.WEIGHTS, metadata={"format": "pt"})
