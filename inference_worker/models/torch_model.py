"""What the models that PyTorch runs share: a device, a kind of number, and a directory of weights."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from inference_worker.memory import available_bytes
from inference_worker.models import pretrained
from inference_worker.models.base import Model, Runtime
from inference_worker.models.torch_device import free_bytes, numbers, resolve


class TorchModel(Model):
    """A model on a PyTorch device.

    Attributes:
        source: the directory or hub id of its own weights, or "" if it has none.
        files: patterns of the files wanted of a hub repository besides the weights.
        budgets: its budget by type of device.
        overheads: its overhead by type of device.
    """

    source: ClassVar[str] = ""
    files: ClassVar[tuple[str, ...]] = ()
    budgets: ClassVar[Mapping[str, int]] = {}
    overheads: ClassVar[Mapping[str, int]] = {}

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.device = resolve(runtime.device)
        self.dtype = numbers(runtime.dtype, self.device)
        self.budget = self.budgets.get(self.device.type, self.budget)
        self.overhead = self.overheads.get(self.device.type, self.overhead)

    @cached_property
    def directory(self) -> Path:
        """Where the weights lie; fetched from the hub if need be."""
        source = self.runtime.source or self.source
        if not source:
            raise ValueError("no directory or hub id is given: use --models name=source")
        return pretrained.find(source, models_dir=self.runtime.models_dir, files=self.files)

    def where(self) -> str:
        """Return the device."""
        return str(self.device)

    def free(self) -> int | None:
        """Return what is free there."""
        return available_bytes() if self.device.type == "cpu" else free_bytes(self.device)

    def needs(self) -> int:
        """Return the memory of the weights, from their files."""
        return pretrained.stored_bytes(self.directory, self.dtype)
