"""Small image folders, as folders and as archives."""

import io
import json
import tarfile

import numpy as np
from PIL import Image


def jpeg(seed=0, size=(10, 12)):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def files(*names):
    """Contents of an image folder by relative path, every image another."""
    return {name: jpeg(seed) for seed, name in enumerate(names)}


def classes(prefix="", *, labels=("cat", "dog"), count=5):
    return [f"{prefix}{label}/{index}.png" for label in labels for index in range(count)]


def write_folder(root, contents):
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_tar(path, contents):
    mode = "w" if path.suffix == ".tar" else "w:gz"
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def index_of(*names):
    return json.dumps({name: position for position, name in enumerate(names)}).encode()
