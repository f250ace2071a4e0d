# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Pictures as the arrays that a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.served_model import ServingError, Signature

with suppress(ImportError):  # the module says so
    from PIL import Image


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes an array. What is None is left as the picture is, or taken from the model."""

    mode: str | None = None
    size: Sequence[int] | None = None
    divide_by: float = 255.0
    invert: bool = False
    # Whether each pixel is a list, also where it is one number.
    channels: bool = False


def prepare(wish: Preparation, signature: Signature, input_name: str | None) -> Preparation:
    """The preparation for an input, completed by the shape that it takes."""
    tensor = signature.inputs.get(input_name or "") or next(iter(signature.inputs.values()))
    shape = (tensor.shape or ())[1:]
    size, mode, channels = wish.size, wish.mode, False
    if len(shape) == 3:
        channels = True
        mode = mode or {3: "RGB", 4: "RGBA"}.get(shape[2], "L")
    if len(shape) in (2, 3) and min(shape[:2]) > 0:
        size = size or shape[:2]
    return replace(wish, mode=mode or "L", size=size, channels=channels)


def read_picture(path: str, preparation: Preparation) -> list[Any]:
    """Rows of pixels, each a number or a list of them."""
    try:
        with Image.open(path) as opened:
            picture = opened.convert(preparation.mode)
    except OSError as error:
        raise ServingError(f"images: {path} cannot be read: {error.strerror or error}") from error
    height, width = preparation.size or (picture.height, picture.width)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    values = [(255 - value if preparation.invert else value) / preparation.divide_by for value in picture.tobytes()]
    pixels: list[Any] = values
    bands = len(picture.getbands())
    if bands > 1 or preparation.channels:
        pixels = [values[index : index + bands] for index in range(0, len(values), bands)]
    return [pixels[row * width : (row + 1) * width] for row in range(height)]
