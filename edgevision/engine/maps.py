"""Feature maps in and out of the engine's memory, as the host writes the image and reads results."""

from __future__ import annotations

import numpy as np

from edgevision.engine.program import ProgramHeader, Stored
from edgevision.engine.stages import CELL_SLOTS
from edgevision.errors import UsageError


def write_image(memory: np.ndarray, header: ProgramHeader, image: np.ndarray) -> None:
    """Put an int8 image (channels, height, width) where the program reads it.

    Args:
        memory: uint8, `header.map_bytes` of them.

    Raises:
        UsageError: the image is not what the program takes.
    """
    stored = header.image.stored
    if image.dtype != np.int8 or image.shape != stored.shape:
        raise UsageError(f"expected an int8 image {stored.shape}, got {image.dtype} {image.shape}",
                         fix="quantise it with the group of the network's input")  # fmt: skip
    if header.image.cells:
        memory[_bytes_of(stored, 0, header)] = _in_cells(image, header)
        return
    planes = np.zeros((len(stored.planes), *image.shape[1:], header.lanes), np.int8)
    for channel, (plane, lane) in enumerate(stored.channels):
        planes[plane, :, :, lane] = image[channel]
    for plane in range(len(stored.planes)):
        memory[_bytes_of(stored, plane, header)] = planes[plane].reshape(-1).view(np.uint8)


def read_map(memory: np.ndarray, header: ProgramHeader, stored: Stored) -> np.ndarray:
    """A tensor (channels, height, width): int8, or uint8 where it is a map of dilations."""
    _, height, width = stored.shape
    found = np.empty(stored.shape, np.uint8 if stored.dilations else np.int8)
    for channel, (plane, lane) in enumerate(stored.channels):
        factor = 2 if stored.planes[plane][1] else 1
        pixels = memory[_bytes_of(stored, plane, header)].reshape(height // factor, width // factor, header.lanes)
        one = pixels[:, :, lane].repeat(factor, axis=0).repeat(factor, axis=1)
        found[channel] = one if stored.dilations else one.view(np.int8)
    return found


def write_map(memory: np.ndarray, header: ProgramHeader, stored: Stored, tensor: np.ndarray) -> None:
    """Put a tensor's channels where the program leaves them; planes that are read twice belong to another tensor."""
    _, height, width = stored.shape
    for channel, (plane, lane) in enumerate(stored.channels):
        if not stored.planes[plane][1]:
            pixels = memory[_bytes_of(stored, plane, header)].reshape(height, width, header.lanes)
            pixels[:, :, lane] = tensor[channel].view(np.uint8)


def plane_bytes(stored: Stored, plane: int, header: ProgramHeader) -> int:
    """Bytes of a plane of `stored`."""
    _, height, width = stored.shape
    if stored.name == header.image.stored.name and header.image.cells:
        return height * -(-width // header.image.cells) * header.lanes
    return height * width * header.lanes // (4 if stored.planes[plane][1] else 1)


def _bytes_of(stored: Stored, plane: int, header: ProgramHeader) -> slice:
    address = stored.planes[plane][0]
    return slice(address, address + plane_bytes(stored, plane, header))


def _in_cells(image: np.ndarray, header: ProgramHeader) -> np.ndarray:
    channels, height, width = image.shape
    cell = header.image.cells
    padded = np.full((height, -(-width // cell) * cell, CELL_SLOTS), header.image.outside, np.int8)
    padded[:, :width, :channels] = image.transpose(1, 2, 0)
    return padded.reshape(-1).view(np.uint8)
