"""Image files in a folder or in a tar archive, listed once and decoded on request.

An archive is never extracted: a `.tar.gz` is unpacked into one nameless temporary file, after which a plain tar is read
by offset. Names inside an archive are labels, never paths.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from edgevision.errors import UsageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm"})
#: Bounds on what an archive or folder may hold, far above real data sets of this kind.
MAX_FILE_BYTES = 256 << 20
MAX_FILES = 5_000_000
MAX_UNPACKED_BYTES = 64 << 30
#: Decoding a larger image would need more memory than the rest of the program.
MAX_PIXELS = 100_000_000
#: Nearly every image file says its size within so many bytes.
_HEAD_BYTES = 64 << 10
_CLASS_FOLDERS = "put images into class folders: train/<class>/*.jpg and test/<class>/*.jpg, or <class>/*.jpg"


@dataclass(frozen=True)
class ImageFiles:
    """Files by name relative to the root, with forward slashes, sorted.

    Attributes:
        root: folder or archive, for messages.
        names: relative paths.
        sizes: bytes of each file.
        others: files that are no images, for instance an index; names only.
    """

    root: Path
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    others: tuple[str, ...]
    _read: Callable[[str, int], bytes] = field(repr=False)

    @property
    def sha256(self) -> str:
        """Hash of all names and sizes."""
        listing = "\n".join(f"{name}\t{size}" for name, size in zip(self.names, self.sizes, strict=True))
        return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()

    def read(self, name: str, *, at_most: int = MAX_FILE_BYTES) -> bytes:
        """Return the bytes of a listed file.

        Raises:
            UsageError: it cannot be read any more, or is larger than `at_most` bytes.
        """
        content = self._head(name, at_most + 1)
        if len(content) > at_most:
            raise UsageError(f"expected at most {at_most:,} bytes, got more in '{name}'", where=str(self.root))
        return content

    def image_size(self, index: int) -> tuple[int, int]:
        """Return width and height of image `index` in pixels, from the head of its file; nothing is decoded.

        Raises:
            UsageError: the file is not an image; it is named.
        """
        head = self._head(self.names[index], _HEAD_BYTES)
        try:
            width, height = Image.open(io.BytesIO(head)).size
        except Exception:
            width, height = 0, 0
        if 0 < width * height <= MAX_PIXELS:
            return width, height
        # The size may follow a long preamble; and what cannot be used is named with its reason here.
        return self.image(index).size

    def _head(self, name: str, count: int) -> bytes:
        try:
            return self._read(name, count)
        except OSError as error:
            raise UsageError(f"cannot read '{name}': {error.strerror or error}", where=str(self.root)) from error

    def image(self, index: int) -> Image.Image:
        """Decode image `index`.

        Raises:
            UsageError: the file is not an image, is truncated, or has more than 100 million pixels; it is named.
        """
        name = self.names[index]
        content = self.read(name)
        try:
            image = Image.open(io.BytesIO(content))
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels")
            image.load()
        except Exception as error:
            # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others on damaged bytes.
            # Pillow names the buffer it was given; the file is named below.
            cause = "not a known image format" if isinstance(error, UnidentifiedImageError) else str(error)
            raise UsageError(
                f"expected an image, got {len(content):,} bytes that cannot be decoded: {cause}",
                where=f"{self.root}: {name} (index {index})",
                fix="replace or remove this file and run the command again",
            ) from error
        return image


def open_files(path: Path, *, layout: str = _CLASS_FOLDERS) -> ImageFiles:
    """List the images of a folder, `.tar`, `.tar.gz` or `.tgz`.

    Args:
        path: of the folder or archive.
        layout: what to do when it holds no image, for the error.

    Raises:
        UsageError: the path is missing or of another kind; the archive is damaged, or holds links, `..` or more than
            the bounds above.
    """
    if path.is_dir():
        return _open_folder(path, layout)
    if not path.is_file():
        raise UsageError("expected a folder of images or a .tar.gz, got no such file", where=str(path))
    if not path.name.endswith((".tar", ".tar.gz", ".tgz")):
        raise UsageError(f"expected a folder, .tar, .tar.gz or .tgz, got '{path.name}'", where=str(path))
    return _open_archive(path, layout)


def _open_folder(root: Path, layout: str) -> ImageFiles:
    sizes: dict[str, int] = {}
    others = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            path = Path(folder) / file
            name = path.relative_to(root).as_posix()
            if _is_image(name):
                sizes[name] = path.stat().st_size if path.exists() else 0
            elif not file.startswith("."):
                others.append(name)

    def read(name: str, count: int) -> bytes:
        path = root / name
        # Opening a pipe would wait for a writer that never comes.
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("not a regular file")
        with path.open("rb") as file:
            return file.read(count)

    return _listed(root, sizes, others, read, layout)


def _open_archive(path: Path, layout: str) -> ImageFiles:
    try:
        file = _plain_tar(path)
        places, others, reasons = _scan(file)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise UsageError(
            f"the archive is damaged or truncated: {error}",
            where=str(path),
            fix="copy it again, and test it with: tar tf",
        ) from error
    except OSError as error:
        raise UsageError(f"the archive cannot be read: {error.strerror or error}", where=str(path)) from error
    if reasons:
        raise UsageError(
            "the archive holds entries that are refused",
            where=str(path),
            fix="pack the class folders alone: tar czf data.tar.gz --hard-dereference train test",
            reasons=reasons[:20],
        )

    def read(name: str, count: int) -> bytes:
        offset, size = places[name]
        return os.pread(file.fileno(), min(size, count), offset)

    return _listed(path, {name: size for name, (_, size) in places.items() if _is_image(name)}, others, read, layout)


def _plain_tar(path: Path) -> BinaryIO:
    """The archive itself, or an unpacked copy in a temporary file that has no name and goes with the process."""
    if path.name.endswith(".tar"):
        return path.open("rb")
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as its reader)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    bound = min(MAX_UNPACKED_BYTES, free // 2)
    with gzip.open(path) as packed:
        while piece := packed.read(1 << 20):
            if unpacked.tell() + len(piece) > bound:
                raise UsageError(
                    f"expected an archive that unpacks to at most {bound:,} bytes",
                    where=str(path),
                    fix="unpack it yourself and give the folder, or set TMPDIR to a larger disk",
                )
            unpacked.write(piece)
    unpacked.flush()
    unpacked.seek(0)
    return unpacked


def _scan(file: BinaryIO) -> tuple[dict[str, tuple[int, int]], list[str], list[str]]:
    """(offset, size) of every regular file, names that are no images, and why entries are refused."""
    places: dict[str, tuple[int, int]] = {}
    others, reasons = [], []
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            # The archive object remembers every member; the index below is all that is needed.
            archive.members.clear()  # type: ignore[attr-defined]
            parts = PurePosixPath(member.name)
            name = "/".join(parts.parts)
            if parts.is_absolute() or ".." in parts.parts or "\\" in name or "\0" in name:
                reasons.append(f"'{member.name[:80]}': leads outside the archive")
            elif member.isdir() or any(part.startswith(".") for part in parts.parts):
                continue
            elif not member.isreg() or member.issparse():
                reasons.append(f"'{name[:80]}': a link, device or sparse file")
            elif member.size > MAX_FILE_BYTES and _is_image(name):
                reasons.append(f"'{name[:80]}': {member.size:,} bytes, expected at most {MAX_FILE_BYTES:,}")
            elif len(places) >= MAX_FILES:
                raise tarfile.TarError(f"more than {MAX_FILES:,} files")
            else:
                places[name] = (member.offset_data, member.size)
                if not _is_image(name):
                    others.append(name)
        # tarfile stops without a word at a damaged header; a whole archive ends with a block of zeros.
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.TarError(f"no entry and no end at byte {archive.offset:,}")
    return places, others, reasons


def _listed(
    root: Path, sizes: dict[str, int], others: Sequence[str], read: Callable[[str, int], bytes], layout: str
) -> ImageFiles:
    if not sizes:
        raise UsageError(
            f"expected images ({', '.join(sorted(SUFFIXES))}), found none among {len(others)} files",
            where=str(root),
            fix=layout,
        )
    names = tuple(sorted(sizes))
    return ImageFiles(root, names, tuple(sizes[name] for name in names), tuple(sorted(others)), read)


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
