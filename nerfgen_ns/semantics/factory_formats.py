"""The formats of the data factory, and the folder that it makes: parts written whole, and an index."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.label_maps import Legend
from nerfgen_ns.dataset_format.transforms import TRANSFORMS, write_transforms
from nerfgen_ns.errors import UsageError
from nerfgen_ns.semantics.factory_card import (
    DEPTH_UNIT,
    Card,
    card_text,
    frame_schema,
    shown_option,
    shown_value,
)
from nerfgen_ns.utils.files import read_json, replace_file, replace_folder, write_json, write_text

if TYPE_CHECKING:
    from nerfgen_ns.semantics.factory import AnnotatedObject, AnnotatedView

NOTE, CARD, SCHEMA, ANNOTATIONS = "factory.json", "README.md", "schema.json", "annotations.json"
OBJECTS = "objects"
"""The folder of the objects' folders."""
RECORD = "object.json"
"""What the index says of an object, in its folder."""
MOST_ANNOTATIONS = 256
"""Annotations of one image in COCO's numbering: each label and the object."""


def open_writer(folder: Path, card: Card) -> Writer:
    """Open the folder of a data set, or begin it.

    Raises:
        UsageError: it holds something else, or was begun with other options.
        NerfgenError: it cannot be written.
    """
    note = folder / NOTE
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output-dir {folder}: is a file; choose another folder")
    if not note.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise UsageError(f"--output-dir {folder}: holds something else; choose another folder")
        write_json(note, card.options)
    # Of two shards that begin at once, both compare with what the later one has written.
    written, own = read_json(note), card.options
    if not isinstance(written, Mapping) or "model" not in written:
        raise UsageError(f"{note}: was not written by nerfgen factory; choose another --output-dir")
    for name in {**own, **written}:
        if written.get(name) != own.get(name):
            before, now = shown_value(written.get(name)), shown_value(own.get(name))
            raise UsageError(
                f"{note}: was begun with {shown_option(name)} {before}, and this call has {now}; give the "
                "same, or choose another --output-dir"
            )
    if card.config.format == "webdataset":
        return TarWriter(folder, card)
    return CocoWriter(folder, card) if card.config.format == "coco" else NerfstudioWriter(folder, card)


class Writer(ABC):
    """Writes a data set part by part: some objects each, whole or not at all."""

    def __init__(self, folder: Path, card: Card) -> None:
        self.folder, self.card = folder, card

    @property
    @abstractmethod
    def parts(self) -> list[range]:
        """Return the objects of each part."""

    @abstractmethod
    def has(self, numbers: range) -> bool:
        """Return whether a part is there."""

    @abstractmethod
    def write(self, numbers: range, objects: Iterable[AnnotatedObject]) -> None:
        """Write a part."""

    def complete(self) -> int:
        """Write the index and the card if all parts are there; return how many are not."""
        missing = sum(not self.has(numbers) for numbers in self.parts)
        if not missing:
            self.write_index()
            self.card.legend.write(self.folder)
            write_json(self.folder / SCHEMA, frame_schema(self.card))
            write_text(self.folder / CARD, card_text(self.card))
        return missing

    @abstractmethod
    def write_index(self) -> None:
        """Write what joins the parts."""


class TarWriter(Writer):
    """Tar files for `webdataset`: images in `views-*.tar`, what belongs to an object in `objects-*.tar`."""

    @cached_property
    def parts(self) -> list[range]:
        """Return the objects of each pair of tars."""
        step = max(1, self.card.config.images_per_tar // self.card.config.views)
        return [
            range(start, min(start + step, self.card.objects)) for start in range(0, self.card.objects, step)
        ]

    def _path(self, kind: str, numbers: range) -> Path:
        return self.folder / f"{kind}-{self.parts.index(numbers):06d}.tar"

    def has(self, numbers: range) -> bool:
        """Return whether both tars are there; that of the images is written last."""
        return self._path("views", numbers).is_file()

    def write(self, numbers: range, objects: Iterable[AnnotatedObject]) -> None:
        """Write both tars. Their bytes depend on nothing but the objects."""
        from webdataset import TarWriter as Tar

        plain: dict[str, Any] = {"encoder": False, "mtime": 0.0, "user": "", "group": ""}
        with (
            replace_file(self._path("views", numbers)) as views_path,
            replace_file(self._path("objects", numbers)) as objects_path,
            views_path.open("wb") as views_file,
            objects_path.open("wb") as objects_file,
            Tar(views_file, **plain) as views_tar,
            Tar(objects_file, **plain) as objects_tar,
        ):
            for one in objects:
                for place, view in enumerate(one.views):
                    key = self.card.name(one.number, place)
                    frame = frame_of(one, view, place, f"{key}.image.png").to_json()
                    arrays = {
                        "labels": view.labels,
                        "depth": view.depth,
                        "normals": view.normals.astype(np.float16),
                    }
                    views_tar.write(
                        {
                            "__key__": key,
                            "image.png": png(view.image),
                            "matte.png": png(view.matte),
                            "maps.npz": npz(arrays),
                            "json": json.dumps(frame).encode(),
                        }
                    )
                objects_tar.write({"__key__": self.card.name(one.number), **self._object(one)})

    def write_index(self) -> None:
        """Do nothing: tars need no index."""

    def _object(self, one: AnnotatedObject) -> dict[str, bytes]:
        landmarks = None if one.landmarks is None else one.landmarks.round(5).tolist()
        about = {"identity": one.number, "landmarks3d": landmarks, "landmark_names": self.card.landmarks}
        files = {"json": json.dumps(about).encode()}
        cloud = ply(one)
        return files if cloud is None else {"ply": cloud, **files}


class FolderWriter(Writer):
    """A folder for each object with its files, and an index of all."""

    @cached_property
    def parts(self) -> list[range]:
        """Return each object by itself."""
        return [range(number, number + 1) for number in range(self.card.objects)]

    def _path(self, number: int) -> Path:
        return self.folder / OBJECTS / self.card.name(number)

    def has(self, numbers: range) -> bool:
        """Return whether the object's folder is there."""
        return (self._path(numbers[0]) / RECORD).is_file()

    def write(self, numbers: range, objects: Iterable[AnnotatedObject]) -> None:
        """Write the object's folder."""
        number = numbers[0]
        where = f"{OBJECTS}/{self.card.name(number)}"
        with replace_folder(self._path(number), lambda folder: True) as making:
            for one in objects:
                record: list[dict[str, Any]] = []
                frames: list[tuple[Frame, AnnotatedView]] = []
                for place, view in enumerate(one.views):
                    name = self.card.name(number, place)
                    for path, content in self.files(view, name).items():
                        (making / path).parent.mkdir(exist_ok=True)
                        (making / path).write_bytes(content)
                    frame = frame_of(one, view, place, f"{where}/images/{name}.png", where, name)
                    frames.append((frame, view))
                cloud = ply(one)
                if cloud is not None:
                    (making / "points.ply").write_bytes(cloud)
                for place, (frame, view) in enumerate(frames):
                    entry = frame.to_json()
                    if cloud is not None:
                        entry["points_path"] = f"{where}/points.ply"
                    record.append(self.entry(entry, view, number * self.card.config.views + place))
                (making / RECORD).write_text(json.dumps(record), encoding="utf-8")

    def files(self, view: AnnotatedView, name: str) -> dict[str, bytes]:
        """Return the files of a view by their paths in the object's folder."""
        return {
            f"images/{name}.png": png(view.image),
            f"mattes/{name}.png": png(view.matte),
            f"labels/{name}.png": label_png(self.card.legend, view.labels),
            f"depth/{name}.npz": npz({"depth": view.depth}),
            f"depth/{name}.png": depth_png(view.depth),
            f"normals/{name}.png": png(np.round(127.5 + 127.5 * view.normals).astype(np.uint8)),
        }

    @abstractmethod
    def entry(self, frame: dict[str, Any], view: AnnotatedView, number: int) -> dict[str, Any]:
        """Return what the index needs to know of an image, the `number`-th of all."""

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield what the index needs to know of each image, in order."""
        for (number,) in self.parts:
            yield from read_json(self._path(number) / RECORD)


class NerfstudioWriter(FolderWriter):
    """A prepared folder, which nerfstudio's parser and our own read."""

    def entry(self, frame: dict[str, Any], view: AnnotatedView, number: int) -> dict[str, Any]:
        """Return the frame."""
        return frame

    def write_index(self) -> None:
        """Write transforms.json."""
        path = self.folder / TRANSFORMS
        shared: dict[str, Any] = {
            "class_name": self.card.class_name,
            "semantic_labels": list(self.card.legend.names),
        }
        if self.card.landmarks:
            shared["landmark_names"] = self.card.landmarks
        frames = (
            Frame.from_json(entry, {}, path, place, allow_outside=False)
            for place, entry in enumerate(self.entries())
        )
        write_transforms(path, frames, shared)


class CocoWriter(FolderWriter):
    """COCO's annotations.json: parts and objects with boxes and run-length encoded masks."""

    def entry(self, frame: dict[str, Any], view: AnnotatedView, number: int) -> dict[str, Any]:
        """Return the image and its annotations; numbers of COCO begin with 1."""
        legend, image = self.card.legend, number + 1
        regions: list[tuple[int, Any]] = [
            (place, view.labels == place) for place in range(len(legend.names)) if place != legend.background
        ]
        regions.append((len(legend.names), np.isfinite(view.depth)))
        annotations = [
            {
                "id": image * MOST_ANNOTATIONS + category,
                "image_id": image,
                "category_id": category,
                **region(inside),
            }
            for category, inside in regions
            if inside.any()
        ]
        if view.landmarks is not None and annotations:
            annotations[-1] |= keypoints(frame)
        about = {"id": image, "file_name": frame["file_path"], "width": frame["w"], "height": frame["h"]}
        return {"image": {**about, **frame}, "annotations": annotations}

    def write_index(self) -> None:
        """Write annotations.json, one image or annotation a line."""
        names = self.card.legend.names
        categories: list[dict[str, Any]] = [
            {"id": place, "name": name, "supercategory": "part"}
            for place, name in enumerate(names)
            if place != self.card.legend.background
        ]
        whole: dict[str, Any] = {"id": len(names), "name": self.card.class_name, "supercategory": "object"}
        if self.card.landmarks:
            whole |= {"keypoints": self.card.landmarks, "skeleton": []}
        info = {"description": f"Made by nerfgen factory, seed {self.card.config.seed}", "version": "1.0"}
        with (
            replace_file(self.folder / ANNOTATIONS) as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            file.write(f'{{"info": {json.dumps(info)}, "licenses": [],\n"categories": ')
            file.write(json.dumps([*categories, whole], ensure_ascii=False))
            for key, lines in (
                ("images", (one["image"] for one in self.entries())),
                ("annotations", (each for one in self.entries() for each in one["annotations"])),
            ):
                file.write(f',\n"{key}": [')
                for place, line in enumerate(lines):
                    file.write(f"{',' if place else ''}\n{json.dumps(line, ensure_ascii=False)}")
                file.write("]")
            file.write("}\n")


def region(inside: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return the mask of a region as COCO has it: run lengths, area and box."""
    from pycocotools import mask

    runs = mask.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {
        "segmentation": {"size": list(map(int, runs["size"])), "counts": runs["counts"].decode("ascii")},
        "area": int(mask.area(runs)),
        "bbox": [float(number) for number in mask.toBbox(runs)],
        "iscrowd": 0,
    }


def keypoints(frame: Mapping[str, Any]) -> dict[str, Any]:
    """Return landmarks as COCO's keypoints: x, y and 2 if visible, 1 if hidden, 0 if out of the image."""
    values: list[float] = []
    for (x, y), visible in zip(frame["landmarks2d"], frame["landmarks_visible"], strict=True):
        inside = 0 <= x < frame["w"] and 0 <= y < frame["h"]
        values += [x, y, 1 + visible] if inside else [0, 0, 0]
    return {"keypoints": values, "num_keypoints": sum(value > 0 for value in values[2::3])}


def frame_of(
    one: AnnotatedObject, view: AnnotatedView, place: int, file_path: str, folder: str = "", name: str = ""
) -> Frame:
    """Return an image as a frame of transforms.json, with keys of its own for boxes and further files.

    Args:
        one: the object.
        view: the image.
        place: its place among the object's.
        file_path: its file.
        folder: the object's folder, if the maps have files of their own.
        name: what these are called.
    """
    files: dict[str, str] = {}
    others: dict[str, Any] = {"view": place, "box": view.box, "boxes": view.boxes}
    if folder:
        files = {
            "mask_path": f"{folder}/mattes/{name}.png",
            "depth_path": f"{folder}/depth/{name}.npz",
            "semantic_path": f"{folder}/labels/{name}.png",
        }
        others |= {
            "depth_file_path": f"{folder}/depth/{name}.png",
            "normals_path": f"{folder}/normals/{name}.png",
        }
    known: dict[str, Any] = {}
    if view.landmarks is not None and one.landmarks is not None and view.landmarks_visible is not None:
        known = {
            "landmarks2d": view.landmarks.round(3),
            "landmarks_visible": view.landmarks_visible.astype(np.int64),
            "landmarks3d": one.landmarks.round(5),
        }
    return Frame.of_camera(file_path, view.camera, identity=one.number, others=others, **files, **known)


def png(image: np.ndarray[Any, Any]) -> bytes:
    """Return an image as PNG."""
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def label_png(legend: Legend, labels: np.ndarray[Any, Any]) -> bytes:
    """Return a label map as PNG with the colors of the labels as its palette."""
    image = Image.fromarray(labels)
    image.putpalette(legend.picture(np.arange(256, dtype=np.uint8)[None]).tobytes())
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def depth_png(depth: np.ndarray[Any, Any]) -> bytes:
    """Return depth as PNG of 16 bits in steps of `DEPTH_UNIT`; 0 off the object."""
    steps = np.where(np.isfinite(depth), depth / DEPTH_UNIT, 0.0)
    return png(np.clip(np.round(steps), 0, 65535).astype(np.uint16))


def npz(arrays: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """Return arrays as .npz, whose bytes depend on nothing else."""
    file = BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def ply(one: AnnotatedObject) -> bytes | None:
    """Return the labeled point cloud of an object; None where it has none."""
    from trimesh.exchange.ply import export_ply

    cloud = one.points()
    return None if cloud is None else export_ply(cloud, vertex_normal=True)
