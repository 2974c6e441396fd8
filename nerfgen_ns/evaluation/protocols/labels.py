"""The protocol `labels`: labels of renders against the truth, and whether two views agree on them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.dataset_format.label_maps import MAPS, UNLABELED, LabelMap, Legend, shrink_label_map
from nerfgen_ns.dataset_format.transforms import transforms_path, write_transforms
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.evaluation.comparisons import row_of
from nerfgen_ns.evaluation.folders import TestFolder
from nerfgen_ns.evaluation.protocol import (
    Evaluation,
    Figure,
    Picture,
    Progress,
    ProtocolResult,
    finite_or_none,
    mean_figure,
)
from nerfgen_ns.evaluation.renders import (
    KINDS,
    SAME_POINTS,
    FolderRenders,
    View,
    queries_of,
    view_pairs,
)
from nerfgen_ns.inversion.inversion import find, silent
from nerfgen_ns.metrics.geometry import depth_correlation, z_depth
from nerfgen_ns.metrics.labels import confusion, label_agreement, label_ious, mean_iou
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.labeling import read_label_maps
from nerfgen_ns.semantics.segmentation import SegmentationNetwork, segment, train_segmentation
from nerfgen_ns.utils.images import from_bytes, to_bytes
from nerfgen_ns.utils.spacing import evenly_spaced

PICTURED = 8
"""Views that are shown of each kind."""


class Labels:
    """How well labels learned from a few label maps hold on other views and other objects.

    Source: Kohli et al., "Semantic Implicit Neural Scene Representations With Semi-Supervised Training"
    (3DV 2020), section 4: mean intersection over union of the labels of new views, from a photograph and from
    a label map alone. Pixels of all views are counted together. The agreement of two views is ours. Baselines
    are the label map of the labeled photograph with the nearest camera, and a 2D network that learns from the
    same label maps and labels the same renders.
    """

    name: ClassVar[str] = "labels"
    needs_test_folder: ClassVar[bool] = True

    def missing(self, setting: Evaluation) -> str | None:
        """Return None if the run tells labels that the folder has too; otherwise say what is missing."""
        assert setting.renders is not None
        folder = setting.renders.folder
        if setting.run.model.label_head is None:
            return "the run has no labels; make a run that has them with nerfgen label"
        without = folder.missing("semantics", [view.number for view in setting.renders.views])
        if without is not None:
            return without
        if not set(folder.labels) & set(setting.run.legend.names):
            return (
                f'{folder.transforms}: "semantic_labels" has none of the labels of the run, '
                f"{', '.join(setting.run.legend.names)}; name them there"
            )
        return None

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Render labels of the views, and compare them with the truth and with each other."""
        assert setting.renders is not None
        run, renders = setting.run, setting.renders
        renders.fit_codes(renders.views, progress)
        baselines = Baselines.of(run, setting.downscale_factor, setting.seed, progress)
        figures: list[Figure] = []
        records: list[dict[str, Any]] = []
        pictures: list[Picture] = []
        for kind in KINDS:
            views = renders.of([kind])
            if not views:
                continue
            codes = {view: renders.code_of(view) for view in views}
            judged = judge_views(run, renders, views, codes, baselines, progress)
            figures += label_figures(judged, run.legend, kind, baselines)
            records += judged.records
            pictures += judged.pictures
            if kind == "new identities":
                of = f"{kind} from label maps alone"
                try:
                    codes = codes_of_label_maps(setting, views, progress)
                except NerfgenError as error:
                    figures.append(Figure(f"mIoU, {of}", None, "", "higher", 0, str(error)))
                    continue
                judged = judge_views(run, renders, views, codes, None, progress)
                figures += label_figures(judged, run.legend, of, None)
        figures += agreement_figures(setting, baselines, progress)
        return ProtocolResult(
            protocol=self.name,
            source="Semantic SRN (3DV 2020), section 4",
            settings={
                "views": len(renders.views),
                "labels": list(run.legend.names),
                "label maps": len(baselines.label_maps),
                "downscale_factor": setting.downscale_factor,
            },
            figures=figures,
            views=records,
            pictures=pictures,
        )


@dataclass(frozen=True)
class Baselines:
    """What the run's own label maps give without a class model."""

    label_maps: Mapping[int, LabelMap]
    """The label maps by their photographs, as small as views are judged; empty if the run has kept none."""
    cameras: Cameras
    """The cameras of all photographs of the run."""
    network: SegmentationNetwork | None
    """A 2D network that has learned from them; None where its photographs are not there."""
    reason: str = ""
    """Why there is none."""

    @classmethod
    def of(cls, run: Run, factor: int, seed: int, progress: Progress) -> Baselines:
        """Read the label maps of a run, and train the 2D network."""
        from nerfgen_ns.semantics.segmentation import SegmentationConfig

        folder = None if run.folder is None else run.folder / MAPS
        if folder is None or not folder.is_dir():
            return cls({}, run.cameras, None, "the run has kept no label maps; it is packed or was fitted")
        _, whole = read_label_maps(run, folder)
        try:
            photographs = open_dataset(run.photographs, factor)
        except NerfgenError as error:
            return cls({}, run.cameras, None, str(error))
        maps = {}
        for number, labels in whole.items():
            camera = photographs.cameras[number]
            maps[number] = shrink_label_map(labels, int(camera.width), int(camera.height))
        if len({labels.shape for labels in maps.values()}) > 1:
            return cls(maps, run.cameras, None, "the labeled photographs are of several sizes")
        images = torch.stack([from_bytes(photographs.get_numpy_image(number)) for number in maps])
        truth = torch.from_numpy(np.stack(list(maps.values())).astype(np.int64))
        network = train_segmentation(
            images.permute(0, 3, 1, 2), truth, len(run.legend.names), SegmentationConfig(seed=seed), progress
        )
        return cls(maps, run.cameras, network)

    def nearest(self, camera: Cameras) -> LabelMap:
        """Return the label map of the labeled photograph whose camera looks most alike."""
        numbers = list(self.label_maps)
        own = self.cameras.camera_to_worlds[numbers, :, 2].cpu()
        return self.label_maps[numbers[int((own @ camera.camera_to_worlds[0, :, 2].cpu()).argmax())]]


@dataclass
class Judged:
    """The labels of some views against the truth: pixels by their true label (rows) and the one they got."""

    own: Int[Tensor, "labels labels"]
    """Those of the model."""
    nearest: Int[Tensor, "labels labels"]
    """Those of the label map with the nearest camera."""
    network: Int[Tensor, "labels labels"]
    """Those of the 2D network on the model's renders."""
    correlations: list[float]
    """Of the depth of each view with a depth map."""
    records: list[dict[str, Any]]
    pictures: list[Picture]


def judge_views(
    run: Run,
    renders: FolderRenders,
    views: Sequence[View],
    codes: Mapping[View, Float[Tensor, "1 latent"]],
    baselines: Baselines | None,
    progress: Progress,
) -> Judged:
    """Compare the labels of views with the truth.

    Each ray goes through the middle of the stored pixel whose label is the truth of the judged one.
    """
    folder, legend = renders.folder, run.legend
    numbers = _numbers_of(folder, legend)
    count = len(legend.names)
    empty = torch.zeros(count, count, dtype=torch.long)
    judged = Judged(empty, empty.clone(), empty.clone(), [], [], [])
    shown = set(evenly_spaced(len(views), PICTURED).tolist())
    for place, view in enumerate(views):
        truth = numbers[folder.semantics(view.number)]
        camera = camera_of_labels(renders.camera_of(view), folder.frames[view.number].w)
        outputs = run.model.render_camera(camera, codes[view], probabilities=True)
        labels = outputs["label_probabilities"].argmax(dim=-1).cpu()
        own = confusion(labels, truth, count)
        judged.own += own
        if baselines is not None and baselines.label_maps:
            near = torch.from_numpy(baselines.nearest(camera).astype(np.int64))
            if near.shape == truth.shape:
                known = torch.where(near == UNLABELED, legend.background, near)
                judged.nearest += confusion(known, truth, count)
        if baselines is not None and baselines.network is not None:
            judged.network += confusion(segment(baselines.network, outputs["rgb"].cpu()), truth, count)
        if folder.missing("depth", [view.number]) is None:
            matte, true_depth = folder.matte(view.number), folder.depth(view.number)
            inside = torch.isfinite(true_depth).float() if matte is None else matte
            depth = z_depth(outputs["depth"][..., 0].cpu(), camera.to("cpu"))
            judged.correlations.append(depth_correlation(depth, true_depth, inside))
        value = finite_or_none(mean_iou(own))
        file = folder.file_of(view.number)
        judged.records.append({"file": file, "identity": view.identity, "kind": view.kind, "mIoU": value})
        if place in shown:
            row = [
                folder.dataset.get_numpy_image(view.number),
                legend.picture(truth.numpy().astype(np.uint8)),
                to_bytes(outputs["rgb"]),
                legend.picture(labels.numpy().astype(np.uint8)),
            ]
            judged.pictures.append(Picture(f"{file}: mIoU {value or math.nan:.2f}", row_of(row)))
        progress(place + 1, len(views))
    return judged


def camera_of_labels(camera: Cameras, stored_width: int) -> Cameras:
    """Return a camera of shape (1,) whose rays go through the stored pixels that small label maps show.

    The label at the middle of a small pixel is that of one stored pixel; with an even factor the middle is on
    that pixel's corner, half a stored pixel away from its own middle.
    """
    factor = stored_width / int(camera.width)
    offset = (math.floor(0.5 * factor) + 0.5) / factor - 0.5
    camera.cx, camera.cy = camera.cx - offset, camera.cy - offset
    return camera


def _numbers_of(folder: TestFolder, legend: Legend) -> Int[Tensor, "256"]:
    """Return the run's number of each number of a folder; unlabeled for labels that the run does not know."""
    numbers = torch.full((256,), UNLABELED)
    for number, name in enumerate(folder.labels):
        if name in legend.names:
            numbers[number] = legend.names.index(name)
    return numbers


def label_figures(judged: Judged, legend: Legend, of: str, baselines: Baselines | None) -> list[Figure]:
    """Return mean IoU and that of each label, and the mean IoU of the baselines."""
    there = judged.own.sum(dim=1) > 0
    pixels = int(judged.own.sum())
    note = f"{int(there.sum())} labels, {pixels} pixels"
    figures = [Figure(f"mIoU, {of}", finite_or_none(mean_iou(judged.own)), "", "higher", pixels, note)]
    ious = label_ious(judged.own).tolist()
    figures += [
        Figure(f"IoU of {name}, {of}", finite_or_none(iou), "", "higher", int(own.sum()))
        for name, iou, own, known in zip(legend.names, ious, judged.own, there.tolist(), strict=True)
        if known
    ]
    if judged.correlations:
        figures.append(mean_figure(f"depth correlation, {of}", judged.correlations, "", "higher"))
    if baselines is not None:
        for name, confused in (
            ("the label map with the nearest camera", judged.nearest),
            ("a 2D network on the renders", judged.network),
        ):
            value = finite_or_none(mean_iou(confused))
            why = "baseline, from the same label maps" if value is not None else baselines.reason
            figures.append(Figure(f"mIoU of {name}, {of}", value, "", "higher", int(confused.sum()), why))
    return figures


def codes_of_label_maps(
    setting: Evaluation, views: Sequence[View], progress: Progress
) -> dict[View, Float[Tensor, "1 latent"]]:
    """Fit the identities of views to the label maps of their `query` frames alone."""
    assert setting.renders is not None
    folder = setting.renders.folder
    identities = list(dict.fromkeys(view.identity for view in views if view.identity is not None))
    root = folder.transforms.parent
    frames = [
        replace(folder.frames[number].with_files_of(root), role=None, identity=place)
        for place, identity in enumerate(identities)
        for number in queries_of(folder, identity)
    ]
    with tempfile.TemporaryDirectory(prefix="nerfgen-evaluate-") as temporary:
        asked = Path(temporary) / "asked"
        write_transforms(transforms_path(asked), frames, folder.data.head)
        config = replace(setting.renders.fit, downscale_factor=folder.downscale_factor)
        work = Path(temporary) / "work"
        work.mkdir()
        codes = find(setting.run, [], config, work, silent, label_maps=asked).codes.detach()
    return {view: codes[[identities.index(view.identity)]] for view in views if view.identity is not None}


def agreement_figures(setting: Evaluation, baselines: Baselines, progress: Progress) -> list[Figure]:
    """Return how often the labels of one surface point agree, seen from two sides, and of the 2D network."""
    run = setting.run
    own: list[float] = []
    network: list[float] = []
    for pair, outputs in view_pairs(run, setting.downscale_factor, progress, probabilities=True):
        labels = [shown["label_probabilities"].argmax(dim=-1) for shown in outputs]
        own.append(label_agreement(outputs[0], labels[0], pair[0], outputs[1], labels[1], pair[1]))
        if baselines.network is not None:
            labels = [segment(baselines.network, shown["rgb"]) for shown in outputs]
            network.append(label_agreement(outputs[0], labels[0], pair[0], outputs[1], labels[1], pair[1]))
    note = SAME_POINTS
    return [
        mean_figure("agreement of two views", own, "", "higher", note),
        mean_figure(
            "agreement of two views, of a 2D network on the renders",
            network,
            "",
            "higher",
            "baseline, from the same label maps",
            baselines.reason,
        ),
    ]
