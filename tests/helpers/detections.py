"""Small sets of images with boxes in the layouts of Pascal VOC and COCO, as contents by relative path."""

import json

from helpers.images import jpeg

#: Images are 12 wide and 10 high unless a test says otherwise.
SIZE = (12, 10)


def voc_object(name="cat", box=(1, 1, 6, 5), difficult=0):
    edges = "".join(
        f"<{edge}>{value}</{edge}>" for edge, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{edges}</bndbox></object>"


def voc_xml(*objects, size=SIZE):
    said = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation>{said}{''.join(objects)}</annotation>".encode()


def voc(annotations, lists=None, *, around=""):
    """A VOC set: annotation bytes by stem, an image for each, and image lists by split."""
    contents = {f"{around}JPEGImages/{stem}.png": jpeg(seed, SIZE[::-1]) for seed, stem in enumerate(annotations)}
    contents |= {f"{around}Annotations/{stem}.xml": content for stem, content in annotations.items()}
    for part, stems in (lists or {}).items():
        contents[f"{around}ImageSets/Main/{part}.txt"] = "".join(f"{stem}\n" for stem in stems).encode()
    return contents


def coco_json(images, objects, categories=((1, "cat"), (7, "dog"))):
    """COCO JSON.

    Args:
        images: file names by id.
        objects: (image id, category id, box as x, y, width, height) or the same with `iscrowd` at the end.
        categories: (id, name).
    """
    entries = [{"id": key, "file_name": name, "width": SIZE[0], "height": SIZE[1]} for key, name in images.items()]
    found = [
        {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": list(box),
            "area": 1,
            "iscrowd": int(any(crowd)),
        }
        for number, (image, category, box, *crowd) in enumerate(objects)
    ]
    named = [{"id": key, "name": name, "supercategory": "animal"} for key, name in categories]
    return json.dumps({"info": {"year": 2026}, "images": entries, "annotations": found, "categories": named}).encode()
