"""`voc:PATH`: a Pascal VOC folder or archive: `JPEGImages/`, `Annotations/`, mostly `ImageSets/Main/` too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from edgevision.data.annotated_files import Reading, detection_set, hold_out
from edgevision.data.annotations import Annotated
from edgevision.data.detection import DetectionSet
from edgevision.data.image_files import ImageFiles, open_files
from edgevision.data.preprocess import Preprocessing
from edgevision.data.voc_xml import MAX_XML_BYTES, BadAnnotation, read_voc_xml
from edgevision.errors import UsageError

MAX_LIST_BYTES = 64 << 20
_LAYOUT = "give the folder that holds JPEGImages/*.jpg and Annotations/*.xml"


def open_voc(path: Path, preprocessing: Preprocessing | None = None) -> DetectionSet:
    """Open a VOC folder or archive; folders around it are looked through.

    `train.txt`, `val.txt` and `test.txt` of `ImageSets/Main/` say which images are in which split; `trainval.txt`
    stands in for a missing `train.txt`, `val.txt` for a missing `test.txt`. Without them a fifth of the images is held
    out for testing, by hash of their names. Classes are the names of the train objects in alphabetical order.

    Raises:
        UsageError: no VOC folder or several, images or annotations that are missing, damaged or too large, boxes that
            are outside their image or have no area, classes unseen in training; all reasons at once.
    """
    files = open_files(path, layout=_LAYOUT)
    base = _base(files)
    reading = Reading()
    lists = _lists(files, base, reading)
    images, annotations = _by_stem(files, base)
    reader = _Reader(files, images, annotations, reading)
    if lists:
        for part, stems in lists.items():
            reading.parts[part] = [image for stem in stems if (image := reader.image(stem, part))]
    else:
        everything = [image for stem in sorted({*images, *annotations}) if (image := reader.image(stem, None))]
        names = [files.names[image.image] for image in everything]
        reading.parts["train"], reading.parts["test"] = hold_out(everything, names, "voc")
        held = f"{len(reading.parts['test'])} of {len(everything)} images held out"
        reading.notes.append(f"no ImageSets/Main: {held}, by hash of their names")
    return detection_set(f"voc:{path}", files, reading, preprocessing)


class _Reader:
    def __init__(
        self, files: ImageFiles, images: Mapping[str, list[int]], annotations: Mapping[str, str], reading: Reading
    ) -> None:
        self.files, self.images, self.annotations, self.reading = files, images, annotations, reading

    def image(self, stem: str, part: str | None) -> Annotated | None:
        """The image `stem` with its objects; None when something is missing or damaged, which is noted."""
        problems = self.reading.problems
        listed = f"'{stem[:80]}'" + (f" of the {part} images" if part else "")
        found = self.images.get(stem, [])
        if not found:
            problems.add("image missing from JPEGImages", listed)
        elif len(found) > 1:
            problems.add("several images of one name", ", ".join(self.files.names[index] for index in found[:3]))
        name = self.annotations.get(stem)
        if name is None:
            problems.add("annotation missing from Annotations", f"{stem[:80]}.xml" + (f" ({part})" if part else ""))
            return None
        try:
            read = read_voc_xml(self.reading.keep(name, self.files.read(name, at_most=MAX_XML_BYTES)))
        except UsageError as error:
            problems.add("annotation that cannot be read", error.what)
            return None
        except BadAnnotation as error:
            for reason in error.reasons:
                problems.add("annotation that cannot be used", f"{name}: {reason}")
            return None
        return Annotated(found[0], name, read.size, read.boxes, read.classes, read.difficult) if found else None


def _base(files: ImageFiles) -> PurePosixPath:
    """The folder that holds `JPEGImages` and `Annotations`, relative to the root."""
    parents = {PurePosixPath(name).parent for name in files.names if "/" in name}
    parents |= {PurePosixPath(name).parent for name in files.others if name.endswith(".xml")}
    bases = sorted({parent.parent for parent in parents if parent.name in ("JPEGImages", "Annotations")})
    if len(bases) != 1:
        raise UsageError(
            f"expected one folder with JPEGImages and Annotations, got {len(bases) or 'none'}",
            where=str(files.root),
            reasons=[str(base) for base in bases[:10]],
            fix=_LAYOUT,
        )
    return bases[0]


def _lists(files: ImageFiles, base: PurePosixPath, reading: Reading) -> dict[str, list[str]]:
    """Names of the images of each split in the order of `ImageSets/Main`; empty without such lists."""
    known = set(files.others)
    found: dict[str, list[str]] = {}
    for part in ("train", "trainval", "val", "test"):
        name = str(base / "ImageSets" / "Main" / f"{part}.txt")
        if name in known:
            found[part] = _list(files, name, reading)
    both, validation = found.pop("trainval", None), set(found.get("val", []))
    if both is not None and "train" not in found:
        found["train"] = [stem for stem in both if stem not in validation]
    if "val" in found:
        part = "validation" if "test" in found else "test"
        found[part] = found.pop("val")
        if part == "test":
            reading.notes.append("no test.txt: val.txt is the test split")
    return found


def _list(files: ImageFiles, name: str, reading: Reading) -> list[str]:
    try:
        text = reading.keep(name, files.read(name, at_most=MAX_LIST_BYTES)).decode("utf-8-sig")
    except UsageError as error:
        reading.problems.add("list of images that cannot be read", error.what)
        return []
    except UnicodeDecodeError as error:
        reading.problems.add("list of images that cannot be read", f"{name}: not UTF-8 at byte {error.start}")
        return []
    stems = [words[0] for line in text.splitlines() if (words := line.split())]
    counts: dict[str, int] = {}
    for stem in stems:
        counts[stem] = counts.get(stem, 0) + 1
        if counts[stem] == 2:
            reading.problems.add("image listed twice", f"{name}: '{stem[:80]}'")
    return list(counts)


def _by_stem(files: ImageFiles, base: PurePosixPath) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Indices of the images and names of the annotations by the stem that ties them together."""
    images: dict[str, list[int]] = {}
    for index, name in enumerate(files.names):
        path = PurePosixPath(name)
        if path.parent == base / "JPEGImages":
            images.setdefault(path.stem, []).append(index)
    paths = [PurePosixPath(name) for name in files.others if name.endswith(".xml")]
    return images, {path.stem: str(path) for path in paths if path.parent == base / "Annotations"}
