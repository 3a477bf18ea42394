"""From what a reader found in annotation files to a detection set: checks, classes, splits, notes and hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from edgevision.data.annotations import Annotated, Problems, Remarks, checked_boxes
from edgevision.data.dataset import hashed_order
from edgevision.data.detection import DetectionSet, Objects, make_detection_splits
from edgevision.data.image_files import ImageFiles
from edgevision.data.preprocess import Preprocessing
from edgevision.errors import UsageError

PREPROCESSING = Preprocessing(height=256, width=256)
TEST_SHARE = 0.2
#: Heads of so many image files are read before any work starts; of others the size is compared when they are decoded.
CHECKED_SIZES = 2000


@dataclass(frozen=True)
class AnnotatedFiles:
    """Image files and their objects.

    Attributes:
        images: place of each annotated image in the listing of `files`.
        sizes: width and height of each, as annotated.
        objects: of each.
    """

    files: ImageFiles
    images: tuple[int, ...] = field(repr=False)
    sizes: tuple[tuple[int, int], ...] = field(repr=False)
    objects: tuple[Objects, ...] = field(repr=False)

    def read(self, index: int) -> tuple[Image.Image, Objects]:
        """Decode image `index` as RGB.

        Raises:
            UsageError: it cannot be decoded, or has another size than its boxes were drawn for.
        """
        image = self.files.image(self.images[index])
        if image.size != self.sizes[index]:
            raise UsageError(
                f"expected {_pixels(self.sizes[index])} as annotated, got {_pixels(image.size)}",
                where=f"{self.files.root}: {self.files.names[self.images[index]]}",
                fix="mend the size in its annotation, or turn the pixels where only EXIF turns the image",
            )
        return image.convert("RGB"), self.objects[index]


@dataclass
class Reading:
    """What a reader has collected.

    Attributes:
        parts: images of "train", "test" and, where there are such, "validation", in the order of the splits.
        classes: names in order; without them the names of the train objects in alphabetical order.
        contents: sha256 of every annotation file by name.
        problems: why the set cannot be used.
        remarks: what was mended.
        notes: other things a reader of a result must know.
    """

    parts: dict[str, list[Annotated]] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    contents: dict[str, str] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)
    remarks: Remarks = field(default_factory=Remarks)
    notes: list[str] = field(default_factory=list)

    def keep(self, name: str, content: bytes) -> bytes:
        """Hash the content of annotation file `name` and give it back."""
        self.contents[name] = hashlib.sha256(content).hexdigest()
        return content


def detection_set(spec: str, files: ImageFiles, reading: Reading, preprocessing: Preprocessing | None) -> DetectionSet:
    """Check everything a reader has found and make the set.

    Raises:
        UsageError: boxes that cannot be used, sizes that are not those of the images, classes unseen in training, no
            objects to train on; all reasons at once, the first ten places of each kind.
    """
    parts = {name: reading.parts.get(name, []) for name in ("train", "test")} | reading.parts
    images = [image for part in parts.values() for image in part]
    sizes = _sizes(files, images, reading.problems)
    boxes = [_checked(image, size, reading) for image, size in zip(images, sizes, strict=True)]
    classes = _classes(parts, reading)
    if not images:
        reading.problems.add("no images", "expected annotated images, got none")
    if reading.problems:
        raise UsageError("the annotations cannot be used", where=str(files.root), reasons=reading.problems.lines())
    position = {name: index for index, name in enumerate(classes)}
    objects = tuple(
        Objects.of(found, [position[name] for name in image.classes], image.difficult)
        for image, found in zip(images, boxes, strict=True)
    )
    starts = np.cumsum([0, *(len(part) for part in parts.values())])
    indices = {name: np.arange(starts[i], starts[i + 1]) for i, name in enumerate(parts)}
    source = AnnotatedFiles(files, tuple(image.image for image in images), sizes, objects)
    chosen = preprocessing or PREPROCESSING
    names = [files.names[image.image] for image in images]
    return DetectionSet(
        spec=spec,
        classes=classes,
        sha256=_sha256(files, reading.contents),
        preprocessing=chosen,
        default_preprocessing=PREPROCESSING,
        splits=make_detection_splits(source, chosen, names, indices),
        notes=(*reading.notes, *_notes(parts), *reading.remarks.lines()),
    )


def hold_out(images: Sequence[Annotated], names: Sequence[str], salt: str) -> tuple[list[Annotated], list[Annotated]]:
    """Divide images into (train, test), a fifth of them test images by hash of their names, both in given order.

    An image goes to the train images when it shows a class that these would not have otherwise.

    Args:
        images: all of them.
        names: what is hashed, one for each image.
        salt: of the hash.
    """
    order = hashed_order(names, salt=salt).tolist()
    share = min(max(1, round(TEST_SHARE * len(images))), len(images) - 1) if images else 0
    test, train = set(order[:share]), set(order[share:])
    seen = {name for index in train for name in images[index].classes}
    for index in order[:share]:
        if not seen.issuperset(images[index].classes):
            seen.update(images[index].classes)
            test.remove(index)
    return [x for i, x in enumerate(images) if i not in test], [x for i, x in enumerate(images) if i in test]


def _sizes(files: ImageFiles, images: Sequence[Annotated], problems: Problems) -> tuple[tuple[int, int], ...]:
    """Width and height of each image; those of a sample are compared with the files, unknown ones taken from them."""
    sample = set(hashed_order([files.names[image.image] for image in images], salt="sizes")[:CHECKED_SIZES].tolist())
    sizes = []
    for index, image in enumerate(images):
        size = image.size
        if size is None or index in sample:
            try:
                stored = files.image_size(image.image)
            except UsageError as error:
                problems.add("image that cannot be read", f"{files.names[image.image]}: {error.what}")
                stored = size or (1, 1)
            if size is not None and size != stored:
                problems.add(
                    "size that is not the image's",
                    f"{image.place}: {size[0]} x {size[1]}, {files.names[image.image]} has {stored[0]} x {stored[1]}",
                )
            size = stored
        sizes.append(size)
    return tuple(sizes)


def _checked(image: Annotated, size: tuple[int, int], reading: Reading) -> np.ndarray:
    return checked_boxes(image.boxes, size, image.classes, image.place, reading.problems, reading.remarks)


def _classes(parts: Mapping[str, Sequence[Annotated]], reading: Reading) -> tuple[str, ...]:
    """Class names in order; classes that training would not see are problems."""
    shown = {part: {name for image in images for name in image.classes} for part, images in parts.items()}
    trained = shown["train"] if parts["train"] else set().union(*shown.values())
    if not trained and not reading.problems:
        reading.problems.add("no objects", f"expected some in the {'train' if parts['train'] else 'test'} images")
    for part, images in parts.items():
        for name in sorted(shown[part] - trained):
            places = [image.place for image in images if name in image.classes]
            more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
            reading.problems.add("class unseen in training", f"'{name[:40]}' in {part} images: {places[0]}{more}")
    if reading.classes is None:
        return tuple(sorted(trained))
    unused = [name for name in reading.classes if name not in trained]
    if unused:
        reading.notes.append(f"{len(unused)} classes without objects: {', '.join(unused[:5])}")
    return reading.classes


def _notes(parts: Mapping[str, Sequence[Annotated]]) -> list[str]:
    notes = []
    if not parts["train"]:
        notes.append("no train images: calibration images are test images, their objects unused")
    if not parts["test"]:
        notes.append("no test images: accuracy cannot be measured")
    trained = {image.image for image in parts["train"]}
    for part in parts:
        both = sum(image.image in trained for image in parts[part])
        if part != "train" and both:
            notes.append(f"{both:,} {part} images are train images too")
    for part, images in parts.items():
        bare = sum(not len(image.classes) for image in images)
        if bare:
            notes.append(f"{bare:,} of {len(images):,} {part} images have no objects")
    return notes


def _sha256(files: ImageFiles, contents: Mapping[str, str]) -> str:
    listing = "\n".join([files.sha256, *(f"{contents[name]}\t{name}" for name in sorted(contents))])
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"
