"""`coco:PATH`: images and COCO "instances" JSON, as a folder or an archive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np

from edgevision.data.annotated_files import Reading, detection_set, hold_out
from edgevision.data.annotations import Annotated
from edgevision.data.detection import DetectionSet
from edgevision.data.image_files import ImageFiles, open_files
from edgevision.data.preprocess import Preprocessing
from edgevision.errors import UsageError

#: instances_train2017.json has 470 million bytes.
MAX_JSON_BYTES = 512 << 20
_LAYOUT = "put images/ beside annotations/instances_train.json and instances_val.json, or beside annotations.json"
_INSTANCES = re.compile(r"instances_((train|val|test)[^/]*)\.json")
_SINGLE = "annotations.json"


class _Image(msgspec.Struct, frozen=True, gc=False):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _Object(msgspec.Struct, frozen=True):
    image_id: int | str
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int | bool = 0


class _Category(msgspec.Struct, frozen=True, gc=False):
    id: int
    name: str


class _Coco(msgspec.Struct, frozen=True):
    images: list[_Image]
    annotations: list[_Object]
    categories: list[_Category]


def open_coco(path: Path, preprocessing: Preprocessing | None = None) -> DetectionSet:
    """Open `instances_train*.json` and `instances_val*.json` (or `instances_test*.json`), or one `annotations.json`.

    With a test file the val file is the "validation" split, else it is the test split. A single file is divided: a
    fifth of its images is held out for testing, by hash of their names. Classes are the categories of the train file in
    the order of their ids, which may have gaps. `file_name` is looked for beside the JSON file or one folder above it:
    there, in `images/`, and in folders called as the split (`train2017/`).

    Raises:
        UsageError: no JSON file or several for one split, JSON that is damaged, too large or no COCO file, images that
            are missing or listed twice, boxes that are outside their image or turned inside out, unknown categories,
            classes unseen in training; all reasons at once.
    """
    files = open_files(path, layout=_LAYOUT)
    reading = Reading()
    index = {name: place for place, name in enumerate(files.names)}
    for part, (name, folder) in _files_of_parts(files).items():
        content = _decoded(files, name, reading)
        if content is None:
            continue
        if part == "train" or reading.classes is None:
            reading.classes = _classes(content, name, reading)
        reading.parts[part] = list(_annotated(content, name, folder, index, reading))
    if list(reading.parts) == ["all"]:
        everything = reading.parts.pop("all")
        names = [files.names[image.image] for image in everything]
        reading.parts["train"], reading.parts["test"] = hold_out(everything, names, "coco")
        reading.notes.append(
            f"one {_SINGLE}: {len(reading.parts['test'])} of {len(everything)} images held out, by hash of their names"
        )
    return detection_set(f"coco:{path}", files, reading, preprocessing)


def _files_of_parts(files: ImageFiles) -> dict[str, tuple[str, str | None]]:
    """JSON file and folder name of each split, train first; of "all" for a single file."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for name in files.others:
        if match := _INSTANCES.fullmatch(PurePosixPath(name).name):
            found.setdefault(match[2], []).append((name, match[1]))
    if not found:
        for name in files.others:
            if PurePosixPath(name).name == _SINGLE:
                found.setdefault("all", []).append((name, None))
    several = [f"{part}: {', '.join(name for name, _ in names[:5])}" for part, names in found.items() if len(names) > 1]
    if several or not found:
        raise UsageError(
            f"expected instances_train*.json, instances_val*.json or {_SINGLE}, "
            f"got {'several for one split' if several else 'none'}",
            where=str(files.root),
            reasons=several,
            fix="keep one of them" if several else _LAYOUT,
        )
    chosen: dict[str, tuple[str, str | None]] = {
        part: found[part][0] for part in ("train", "val", "test", "all") if part in found
    }
    if "val" in chosen:
        chosen["validation" if "test" in chosen else "test"] = chosen.pop("val")
    return chosen


def _decoded(files: ImageFiles, name: str, reading: Reading) -> _Coco | None:
    """The file; None when it cannot be read, which is noted."""
    try:
        content = reading.keep(name, files.read(name, at_most=MAX_JSON_BYTES))
        return msgspec.json.decode(content, type=_Coco)
    except UsageError as error:
        reading.problems.add("file that cannot be read", error.what)
    except RecursionError:
        reading.problems.add("file that cannot be used", f"{name}: nested too deeply")
    except msgspec.ValidationError as error:
        reading.problems.add("file that cannot be used", f"{name}: {error}")
    except msgspec.DecodeError as error:
        reading.problems.add("file that is not JSON", f"{name}: {error}{_excerpt(content, str(error))}")
    return None


def _excerpt(content: bytes, message: str) -> str:
    """What stands at the byte a decoder stumbled over: a NaN is easier to find by sight than by place."""
    if not (match := re.search(r"\(byte (\d+)\)", message)):
        return ""
    start = int(match[1])
    return f", at '{content[start : start + 12].decode('utf-8', 'replace')}'"


def _classes(content: _Coco, name: str, reading: Reading) -> tuple[str, ...]:
    """Category names in the order of their ids."""
    ids, names = set(), set()
    for category in content.categories:
        if category.id in ids or category.name in names:
            reading.problems.add("category listed twice", f"{name}: {category.id} ('{category.name[:40]}')")
        ids.add(category.id)
        names.add(category.name)
    return tuple(category.name for category in sorted(content.categories, key=lambda category: category.id))


def _annotated(
    content: _Coco, name: str, folder: str | None, index: dict[str, int], reading: Reading
) -> Iterator[Annotated]:
    """Images with their objects; what does not fit together is noted."""
    problems = reading.problems
    categories = {category.id: category.name for category in content.categories}
    objects: dict[int | str, list[_Object]] = {image.id: [] for image in content.images}
    for number, found in enumerate(content.annotations):
        if found.image_id not in objects:
            problems.add(
                "object of an unknown image", f"{name}: annotation {number + 1}: image {_shown(found.image_id)}"
            )
        elif found.category_id not in categories:
            problems.add("unknown category", f"{name}: annotation {number + 1}: category {found.category_id}")
        else:
            objects[found.image_id].append(found)
    places = _places(name, folder)
    ids: set[int | str] = set()
    used: set[int] = set()
    for image in content.images:
        where = f"{name}: '{image.file_name[:80]}'"
        if image.id in ids:
            problems.add("image id given twice", f"{where}: id {_shown(image.id)}")
            continue
        ids.add(image.id)
        found_at = next((index[path] for place in places if (path := str(place / image.file_name)) in index), None)
        if found_at is None:
            problems.add("image missing", where)
        elif found_at in used:
            problems.add("image listed twice", where)
        else:
            used.add(found_at)
            yield _image(found_at, where, image, objects[image.id], categories, reading)


def _image(
    found_at: int, where: str, image: _Image, objects: list[_Object], categories: dict[int, str], reading: Reading
) -> Annotated:
    # Two of the 860,001 boxes of COCO 2017 have no height. They can be neither learnt nor found.
    kept = [found for found in objects if found.bbox[2] != 0 and found.bbox[3] != 0]
    if len(kept) < len(objects):
        reading.remarks.add("boxes of no width or height left out", where, len(objects) - len(kept))
    boxes = np.asarray([found.bbox for found in kept], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    size = (image.width, image.height) if image.width and image.height else None
    return Annotated(
        found_at,
        where,
        size,
        boxes,
        [categories[found.category_id] for found in kept],
        [bool(found.iscrowd) for found in kept],
    )


def _places(name: str, folder: str | None) -> list[PurePosixPath]:
    """Folders `file_name` is looked for in, the likeliest first."""
    beside = PurePosixPath(name).parent
    around = [beside, beside.parent] if beside != beside.parent else [beside]
    below = [f"images/{folder}", folder, "images", ""] if folder else ["images", ""]
    return [place / part for place in around for part in below]


def _shown(identifier: int | str) -> str:
    return str(identifier)[:40]
