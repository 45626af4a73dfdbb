"""How SigLIP wants pictures, as the file beside its weights says; what is not implemented here is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference_worker.models.pretrained import read_json, require
from rpc import pictures

DEFAULTS = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_center_crop": False,
    "do_pad": False,
    "resample": int(Image.Resampling.BICUBIC),
}
"""What `SiglipImageProcessor` of Transformers does unless told otherwise, and the only thing done here."""

CHANNELS = 3


@dataclass(frozen=True, slots=True)
class PixelRules:
    """The size pictures are brought to and what becomes of their values.

    Attributes:
        size: width and height.
        scale: what a value of 0..255 is multiplied by.
        mean: what is then taken off, by channel.
        std: what it is then divided by, by channel.
    """

    size: tuple[int, int]
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, directory: Path, *, side: int) -> "PixelRules":
        """Return the rules of a directory whose model sees `side` x `side` pixels.

        Raises:
            FileNotFoundError: it has neither preprocessor_config.json nor processor_config.json with them.
            ValueError: they ask for something else than resizing to this size, bicubic, and scaling.
        """
        given = _given(directory)
        for name, done in DEFAULTS.items():
            found = given.get(name)
            if found is not None and found != done:
                raise ValueError(f"{directory}: pictures are to be prepared with {name} {found}; only {done} is known")
        if given.get("size") != {"height": side, "width": side}:
            raise ValueError(f"{directory}: pictures are to be of size {given.get('size')}, but the model sees {side}")
        rules = cls(
            (side, side), float(given.get("rescale_factor", 1 / 255)), _three(given, "mean"), _three(given, "std")
        )
        if not all(rules.std):
            raise ValueError(f"{directory}: pictures are to be divided by image_std {rules.std}")
        return rules

    def fit(self, picture: Image.Image) -> Image.Image:
        """Return a picture in the model's size; of that size it stays as it is."""
        return pictures.fit(picture, self.size)

    def levels(self) -> NDArray[np.float32]:
        """Return what each value 0..255 of each channel becomes, (3, 256).

        In the order and precision in which `SiglipImageProcessorPil` computes it, so that the results are the same.
        """
        scaled = (np.arange(256, dtype=np.uint8).astype(np.float64) * self.scale).astype(np.float32)
        mean, std = (np.array(values, np.float32)[:, None] for values in (self.mean, self.std))
        levels: NDArray[np.float32] = (scaled[None] - mean) / std
        return levels


def _given(directory: Path) -> Mapping[str, Any]:
    """Return the settings of the image processor, from where Transformers looks first."""
    newer = directory / "processor_config.json"
    found = read_json(newer).get("image_processor") if newer.is_file() else None
    if found is None:
        require(directory, "preprocessor_config.json")
        found = read_json(directory / "preprocessor_config.json")
    kind = str(found.get("image_processor_type", "SiglipImageProcessor"))
    if not kind.startswith("SiglipImageProcessor"):
        raise ValueError(f"{directory}: pictures are to be prepared by a {kind}, not SigLIP's")
    return dict(found)


def _three(given: Mapping[str, Any], what: str) -> tuple[float, ...]:
    value = given.get(f"image_{what}", 0.5)
    values = tuple(map(float, value)) if isinstance(value, list) else (float(value),) * CHANNELS
    if len(values) != CHANNELS:
        raise ValueError(f"image_{what} is {value}, not one number for each of {CHANNELS} channels")
    return values
