"""The benchmark of what the data factory is worth, and its point-cloud network."""

from pathlib import Path

import pytest
import torch

from benchmarks.factory_use import FactoryUse
from benchmarks.point_network import LabeledPoints, PointConfig, label_points, train_point_network
from nerfgen_ns.semantics.config import FactoryConfig
from nerfgen_ns.semantics.segmentation import SegmentationConfig
from nerfgen_ns.synthetic.dataset import write_dataset
from nerfgen_ns.utils.files import read_json
from tests.helpers.labeled_runs import FEW


def test_every_network_is_trained_and_judged_and_data_is_made_once(
    small_heads: Path, begun_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run that has hardly begun has no surface yet.
    for module in ("benchmarks.factory_use", "nerfgen_ns.semantics.factory"):
        monkeypatch.setattr(f"{module}.VISIBLE", 0.0)
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / "train").symlink_to(small_heads / "train")
    write_dataset(tmp_path / "heads" / "test_new", 1, views=2, size=32)
    out, results = tmp_path / "out", tmp_path / "RESULTS.md"
    use = FactoryUse(
        heads=tmp_path / "heads",
        output_dir=out,
        load_config=begun_run,
        masks=2,
        images=4,
        seeds=2,
        head=FEW,
        factory=FactoryConfig(views=2),
        pictures=SegmentationConfig(steps=2, batch=2, width=4),
        clouds=PointConfig(steps=2, batch=2, points=16, width=8),
        results_path=results,
    )
    use.run()
    report = read_json(out / "factory_use.json")
    for kind in ("pictures", "clouds"):
        for source in ("masks", "factory", "both"):
            seeds = report[kind][source]["mIoU"]
            assert len(seeds) == 2 and all(0 <= value <= 1 for value in seeds)
    assert report["images a second"] > 0 and (out / "factory_use.png").is_file()
    assert results.read_text().count("| factory |") == 2
    before = (out / "factory_4" / "views-000000.tar").stat().st_mtime_ns
    use.run()
    assert (out / "factory_4" / "views-000000.tar").stat().st_mtime_ns == before
    assert read_json(out / "factory_use.json")["images a second"] is None


def test_a_point_network_learns_what_places_tell() -> None:
    def cloud(seed: int) -> LabeledPoints:
        values = torch.rand(600, 6, generator=torch.Generator().manual_seed(seed)) - 0.5
        values[:, 3:] = 0.5
        return LabeledPoints(values, (values[:, 1] > 0).long())

    network = train_point_network(
        [cloud(seed) for seed in range(4)], 2, PointConfig(steps=60, batch=4, points=128, width=16)
    )
    unseen = cloud(9)
    labels = label_points(network, unseen.values, most=256)
    assert (labels == unseen.labels).float().mean() > 0.85
