"""The data card of the data factory: what a data set is made of, the schema of its records, its README."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from nerfgen_ns.dataset_format.label_maps import LEGEND, UNLABELED, Legend
from nerfgen_ns.semantics.config import FactoryConfig

DEPTH_UNIT = 1e-3
"""One step of the depth in 16-bit PNGs, in units of the class frame: nerfstudio's usual factor."""


@dataclass(frozen=True)
class Card:
    """What a data set consists of."""

    config: FactoryConfig
    legend: Legend
    landmarks: list[str]
    """Names of the landmarks; empty where there are none."""
    class_name: str
    model: str
    """The fingerprint of the class model and of its labels."""

    @property
    def options(self) -> dict[str, Any]:
        """Return what the data set depends on, as JSON has it."""
        return json.loads(json.dumps({**asdict(self.config), "model": self.model}))

    @property
    def objects(self) -> int:
        """Return the number of identities."""
        return -(-self.config.count // self.config.views)

    def name(self, number: int, view: int | None = None) -> str:
        """Return the name of an object, or of one of its views; names are in the order of the numbers."""
        own = f"{number:06d}"
        return own if view is None else f"{own}_{view:0{max(2, len(str(self.config.views - 1)))}d}"


def shown_option(name: str) -> str:
    """Return the option that a value of `Card.options` comes from."""
    return "--load-config of the model" if name == "model" else f"--{name.replace('_', '-')}"


def shown_value(value: object) -> str:
    """Return a value as it is given on the command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def frame_schema(card: Card) -> dict[str, Any]:
    """Return the JSON schema of what is said of each image, in whatever format."""

    def array(items: dict[str, Any], length: int | None = None, about: str = "") -> dict[str, Any]:
        sized = {} if length is None else {"minItems": length, "maxItems": length}
        return {"type": "array", "items": items, **sized, **({"description": about} if about else {})}

    number, pixels, text = {"type": "number"}, {"type": "integer", "minimum": 0}, {"type": "string"}
    box = array(pixels, 4, "left, top, width and height in pixels")
    parts = [name for place, name in enumerate(card.legend.names) if place != card.legend.background]
    size = {"const": card.config.size}
    count = len(card.landmarks)
    paths = {
        "file_path": "the image, 8-bit RGB",
        "mask_path": "the matte, 8 bits, 255 on the object",
        "semantic_path": f"the label map: numbers of {LEGEND}, {UNLABELED} for unlabeled",
        "depth_path": "key `depth`: along the optical axis, in the class's units, infinite off the object",
        "depth_file_path": f"the same, 16 bits, in steps of {DEPTH_UNIT} units, 0 off the object",
        "normals_path": "of the class frame; a component is value / 127.5 - 1, and about 0 off the object",
        "points_path": "the object's points, with normals, colors, `label` and `label_confidence`",
    }
    properties: dict[str, Any] = {
        "transform_matrix": array(array(number, 4), 4, "camera-to-world, OpenGL: looks along -z, y up"),
        **{name: {**number, "description": "in pixels"} for name in ("fl_x", "fl_y", "cx", "cy")},
        "w": size,
        "h": size,
        "identity": {"type": "integer", "minimum": 0, "exclusiveMaximum": card.objects},
        "view": {"type": "integer", "minimum": 0, "exclusiveMaximum": card.config.views},
        "box": {"anyOf": [box, {"type": "null"}]},
        "boxes": {"type": "object", "properties": dict.fromkeys(parts, box), "additionalProperties": False},
        **{name: {**text, "description": about} for name, about in paths.items()},
    }
    needed = ["file_path", "transform_matrix", "fl_x", "fl_y", "cx", "cy", "w", "h", "identity", "view"]
    if count:
        properties["landmarks2d"] = array(array(number, 2), count, "in pixels")
        properties["landmarks_visible"] = array({"enum": [0, 1]}, count)
        properties["landmarks3d"] = array(array(number, 3), count, "in the class frame")
        needed += ["landmarks2d", "landmarks_visible", "landmarks3d"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An image of a data set of nerfgen factory",
        "type": "object",
        "properties": properties,
        "required": [*needed, "box", "boxes"],
    }


FILES = {
    "webdataset": """\
- `views-*.tar`: the images, in the order of their names. Each sample has `image.png`, `matte.png`
  (8 bits), `json` (what `schema.json` describes) and `maps.npz`: `labels` (bytes), `depth` (float32) and
  `normals` (float16; 0 off the object).
- `objects-*.tar`: one sample for each identity: `ply`, its points, and `json`, its landmarks in 3D.

```python
import webdataset
views = webdataset.WebDataset("views-{000000..%06d}.tar", shardshuffle=False).decode("rgb8")
for view in views:
    image, labels = view["image.png"], view["maps.npz"]["labels"]
```""",
    "coco": """\
- `annotations.json`: COCO's images and annotations, a mask, an area and a box for each part and for the
  whole object. The number of a part's category is its label; that of the object is the number of labels. An
  image has what `schema.json` describes too.
- `objects/*`: the files of each identity; `schema.json` says what is in them.

```python
from pycocotools.coco import COCO
coco = COCO("annotations.json")
masks = [coco.annToMask(one) for one in coco.imgToAnns[1]]
```""",
    "nerfstudio": """\
- `transforms.json`: a frame for each image; `schema.json` describes it.
- `objects/*`: the files of each identity.

Read it with nerfstudio's parser and `orientation_method="none"`, `center_method="none"`,
`auto_scale_poses=False`, or with the data parser `nerfgen-data`.""",
}
"""What is in the folder, by its format."""


def card_text(card: Card) -> str:
    """Return the data card: what the data set is, how it was made, and what its numbers mean."""
    config, count = card.config, len(card.landmarks)
    options = "\n".join(
        f"| `{shown_option(name)}` | {shown_value(value)} |"
        for name, value in card.options.items()
        if value is not None and name != "model"
    )
    labels = "\n".join(
        f"| {place} | {name} | {color} |"
        for place, (name, color) in enumerate(zip(card.legend.names, card.legend.colors, strict=True))
    )
    files = FILES[config.format]
    tars = max(1, config.images_per_tar // config.views)
    files = files % (-(-card.objects // tars) - 1) if config.format == "webdataset" else files
    landmarks = (
        f"{count} landmarks are those of the identity's code, projected; `landmarks_visible` says which are\n"
        "  in the image with no surface before them."
        if count
        else "The class has no landmarks."
    )
    return f"""# {config.count} annotated images of {card.class_name}

Made by `nerfgen factory`, of {card.objects} identities that exist nowhere else: codes drawn from the Gaussian
of a class model's latent table. Nothing was photographed. The method is that of DatasetNeRF (Chi et al.,
2024).

## Files

{files}

## Labels

| number | name | color |
| --- | --- | --- |
{labels}
| {UNLABELED} | unlabeled: less probable than {config.min_confidence:g} | |

## What the numbers mean

- World: the class frame, right-handed, y up; the front looks to +z, within [-1, 1] along each axis.
- Cameras: camera-to-world, OpenGL. A point at X, Y, Z of the camera's frame is at the pixel
  u = cx + fl_x X / (-Z), v = cy - fl_y Y / (-Z); the middle of a pixel is at +0.5.
- Depth is along the optical axis, in the class's units. Normals are of the class frame.
- A matte is how opaque the object is; depth, normals and the object's box are where it is above one half.
- Points are what the images see, fused: at most {config.points} of an identity, with normals, colors, `label`
  and `label_confidence`.
- {landmarks}

## Limits

Labels are those of a head that learned from a few label maps, and geometry is that of the class model; both
have errors, and both show what the photographs of the class show. A surface that no photograph shows is a
guess. Whoever is in the photographs has a say in how this data may be used.

## How it was made

| option | value |
| --- | --- |
{options}
| model | {card.model} |
"""
