"""The modules behind the pooling of a sentence encoder: Dense, LayerNorm and Normalize, computed in float32."""

from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch

from inference_worker.models.encoder_layout import HeadSpec
from inference_worker.models.settings_file import SettingsFile

ACTIVATIONS: Mapping[str, Callable[[], torch.nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *(torch.nn.Identity, torch.nn.Tanh, torch.nn.ReLU, torch.nn.GELU, torch.nn.SiLU, torch.nn.Sigmoid),
        *(torch.nn.LeakyReLU, torch.nn.ELU, torch.nn.SELU, torch.nn.CELU, torch.nn.ReLU6, torch.nn.Mish),
        *(torch.nn.Softplus, torch.nn.Softsign, torch.nn.Hardtanh, torch.nn.Hardswish, torch.nn.Hardsigmoid),
        *(torch.nn.LogSigmoid, torch.nn.Tanhshrink),
    )
}
"""Activations of Dense modules by class name; each has the arguments PyTorch gives it."""

NAMES = ("module_input_name", "module_output_name")
"""Settings that say which vectors a module takes and returns."""

DENSE_SETTINGS = (
    *("in_features", "out_features", "bias", "activation_function", "use_residual"),
    *NAMES,
)

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class Dense(torch.nn.Module):
    """A linear layer and its activation; with `residual`, the input is added, through a layer where sizes differ."""

    def __init__(self, sizes: tuple[int, int], *, bias: bool, activation: torch.nn.Module, residual: bool) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(*sizes, bias=bias)
        self.activation = activation
        self.use_residual = residual
        if residual and sizes[0] != sizes[1]:
            self.residual: torch.nn.Module = torch.nn.Linear(*sizes, bias=False)
        else:
            self.residual = torch.nn.Identity()

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return vectors of the outer size."""
        made: torch.Tensor = self.activation(self.linear(vectors))
        return made + self.residual(vectors) if self.use_residual else made


class UnitNorm(torch.nn.Module):
    """Vectors scaled to length 1."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the vectors at length 1."""
        return torch.nn.functional.normalize(vectors, dim=1)


def load_head(spec: HeadSpec, dimension: int) -> tuple[torch.nn.Module, int]:
    """Return the module of a head that takes vectors of `dimension`, and the dimension of what it returns.

    Raises:
        FileNotFoundError: it has no weights, or no configuration.
        ValueError: a setting is not served, or sizes do not fit.
    """
    return LOADERS[spec.kind](spec, dimension)


def stored_bytes(spec: HeadSpec) -> int:
    """Return the memory a head will take, from its files alone."""
    return sum(file.stat().st_size for name in WEIGHTS[:1] if (file := spec.directory / name).is_file()) or sum(
        file.stat().st_size for name in WEIGHTS[1:] if (file := spec.directory / name).is_file()
    )


def _dense(spec: HeadSpec, dimension: int) -> tuple[torch.nn.Module, int]:
    settings = _checked(spec, DENSE_SETTINGS)
    outer = settings.size("out_features")
    if settings.size("in_features") != dimension:
        raise settings.wrong("in_features", f"{dimension}, the size of the vectors before it")
    layer = Dense(
        (dimension, outer),
        bias=settings.flag("bias", default=True),
        activation=_activation(settings),
        residual=settings.flag("use_residual", default=False),
    )
    _load_weights(layer, spec.directory)
    return layer, outer


def _layer_norm(spec: HeadSpec, dimension: int) -> tuple[torch.nn.Module, int]:
    settings = _checked(spec, ("dimension",))
    if settings.size("dimension") != dimension:
        raise settings.wrong("dimension", f"{dimension}, the size of the vectors before it")
    layer = torch.nn.ModuleDict({"norm": torch.nn.LayerNorm(dimension)})
    _load_weights(layer, spec.directory)
    return layer["norm"], dimension


def _normalize(spec: HeadSpec, dimension: int) -> tuple[torch.nn.Module, int]:
    _checked(spec, NAMES)
    return UnitNorm(), dimension


def _dropout(spec: HeadSpec, dimension: int) -> tuple[torch.nn.Module, int]:
    """Return what dropout is outside of training: nothing."""
    _checked(spec, ("dropout",))
    return torch.nn.Identity(), dimension


LOADERS: Mapping[str, Callable[[HeadSpec, int], tuple[torch.nn.Module, int]]] = {
    "Dense": _dense,
    "LayerNorm": _layer_norm,
    "Normalize": _normalize,
    "Dropout": _dropout,
}


def _checked(spec: HeadSpec, known: tuple[str, ...]) -> SettingsFile:
    """Return a head's settings; raise `ValueError` on one that is not known or not served."""
    spec.settings.refuse_unknown(known)
    for name in NAMES:
        if spec.settings.values.get(name) not in (None, "sentence_embedding"):
            raise spec.settings.wrong(name, "sentence_embedding")
    return spec.settings


def _activation(settings: SettingsFile) -> torch.nn.Module:
    path = str(settings.values.get("activation_function", "torch.nn.modules.activation.Tanh"))
    package, _, name = path.rpartition(".")
    if not f"{package}.".startswith("torch.nn.") or name not in ACTIVATIONS:
        raise settings.wrong("activation_function", f"one of torch.nn's {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def _load_weights(layer: torch.nn.Module, directory: Path) -> None:
    """Fill a layer from the file of its directory; raise unless it has exactly the layer's weights."""
    file = next((directory / name for name in WEIGHTS if (directory / name).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{directory} has no weights: neither {' nor '.join(WEIGHTS)}")
    try:
        if file.suffix == ".safetensors":
            weights = safetensors.torch.load_file(file)
        else:
            weights = torch.load(file, map_location="cpu", weights_only=True)
        layer.load_state_dict(weights)
    except Exception as error:
        raise ValueError(f"{file} cannot be loaded: {error}") from error
    layer.float().eval().requires_grad_(requires_grad=False)
