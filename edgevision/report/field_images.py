"""Fields as pictures: a diverging colour map, still strips and looping animations, as data URLs."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

#: Ends and middle of the colour map: below zero, zero, above.
_BELOW, _ZERO, _ABOVE = (5, 48, 97), (247, 247, 247), (103, 0, 31)
#: Levels on either side of zero; 255 colours in all, and the last for the gaps.
_HALF, _GAP = 127, 255
_GAP_COLOUR = (255, 255, 255)
_GAP_PIXELS = 2


def palette() -> list[int]:
    """256 colours, red, green and blue of each: below zero blue, zero nearly white, above zero red; the last white."""
    shares = np.linspace(0, 1, _HALF + 1)[:, None]
    below = np.asarray(_BELOW) + shares * (np.asarray(_ZERO) - np.asarray(_BELOW))
    above = np.asarray(_ZERO) + shares[1:] * (np.asarray(_ABOVE) - np.asarray(_ZERO))
    return [*np.concatenate([below, above]).round().astype(int).ravel().tolist(), *_GAP_COLOUR]


def levels(fields: np.ndarray, largest: float) -> np.ndarray:
    """Fields as colour numbers, uint8: `largest` and beyond is the last colour, zero the middle one.

    >>> levels(np.array([-2.0, 0.0, 1.0, 5.0]), 2.0).tolist()
    [0, 127, 190, 254]
    """
    scaled = np.nan_to_num(fields / (largest or 1.0), posinf=1.0, neginf=-1.0)
    return (np.clip(scaled, -1, 1) * _HALF + _HALF).astype(np.uint8)


def side_by_side(fields: np.ndarray, largest: float) -> np.ndarray:
    """(panels, H, W) as one picture of colour numbers, rows growing upwards as y does, gaps between the panels."""
    panels = levels(fields, largest)[:, ::-1]
    gap = np.full((panels.shape[1], _GAP_PIXELS), _GAP, np.uint8)
    pieces = [piece for panel in panels for piece in (gap, panel)]
    return np.concatenate(pieces[1:], axis=1)


def still(rows: list[np.ndarray]) -> str:
    """Pictures of `side_by_side` below each other, as a PNG."""
    gap = np.full((_GAP_PIXELS, rows[0].shape[1]), _GAP, np.uint8)
    pieces = [piece for row in rows for piece in (gap, row)]
    return _url(_image(np.concatenate(pieces[1:])), "png")


def animation(frames: list[np.ndarray], milliseconds: int) -> str:
    """Pictures of `side_by_side` after each other, as a GIF that begins again and again."""
    first, *others = (_image(frame) for frame in frames)
    return _url(first, "gif", save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=False)


def _image(numbers: np.ndarray) -> Image.Image:
    image = Image.fromarray(numbers)
    image.putpalette(palette())
    return image


def _url(image: Image.Image, kind: str, **how: object) -> str:
    out = io.BytesIO()
    image.save(out, kind.upper(), **how)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"
