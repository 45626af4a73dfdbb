"""What the PyTorch models share: a device, a number type, and a directory of pretrained weights."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch

from inference_worker.models import pretrained
from inference_worker.models.base import Model, Runtime
from inference_worker.models.torch_device import free_bytes, resolve, resolve_dtype


class TorchModel(Model):
    """A model whose weights Transformers can read.

    Attributes:
        published: the hub id of its own weights, or "" if it has none.
        files: patterns of the files it reads besides the weights.
        budgets: type of device -> `budget`.
        overheads: type of device -> `overhead`.
        device: where it computes.
        dtype: what it computes in.
    """

    published: ClassVar[str] = ""
    files: ClassVar[tuple[str, ...]] = ()
    budgets: ClassVar[Mapping[str, int]] = {"cpu": Model.budget, "cuda": Model.budget}
    overheads: ClassVar[Mapping[str, int]] = {"cpu": Model.overhead, "cuda": Model.overhead}

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.device: torch.device = resolve(runtime.device)
        self.dtype: torch.dtype = resolve_dtype(runtime.dtype, self.device)
        self.budget = self.budgets[self.device.type]
        self.overhead = self.overheads[self.device.type]

    @cached_property
    def directory(self) -> Path:
        """Where the weights lie; raises `FileNotFoundError` if nothing has them."""
        source = self.runtime.source or self.published
        if not source:
            raise ValueError("no directory or hub id is given: use --models name=source")
        return pretrained.find(source, models_dir=self.runtime.models_dir, files=self.files)

    def where(self) -> str:
        """Return the device."""
        return str(self.device)

    def free(self) -> int | None:
        """Return the free memory of the device in bytes."""
        return super().free() if self.device.type == "cpu" else free_bytes(self.device)

    def needs(self) -> int:
        """Return the memory of the weights in the number type they will have, from the files alone."""
        return pretrained.stored_bytes(self.directory, self.dtype)

    def about(self) -> Mapping[str, str]:
        """Return device and number type."""
        return {"device": str(self.device), "dtype": str(self.dtype).removeprefix("torch.")}
