"""Panels and scalars of a training: what they hold, and that nerfstudio's writers and the viewer get them."""

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import IMAGES, EventAccumulator

from nerfgen_ns.model.class_view import ClassView
from nerfgen_ns.training import preview as training_panels
from nerfgen_ns.training.preview import EVENT, draw_panel, put_panel, shown_identities, writer
from nerfgen_ns.training.trainer import NerfgenTrainer
from nerfgen_ns.utils.images import GAP, LABEL_WIDTH, data_url, resize, to_bytes
from tests.helpers.short_trainings import seed_everything, set_up, short_config

SIZE = 16
PHOTOGRAPH, RECONSTRUCTION, MATTE, ACCUMULATION, LEFT, FRONTAL, RIGHT, DEPTH, NORMALS = range(9)
STEPS = 5
EVERY = 2


@pytest.fixture(scope="module", autouse=True)
def _small_and_alone():
    """Small panels; and of nerfstudio's writers, which outlive a training, none from another test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_panels, "SIZE", SIZE)
        patch.setattr(writer, "EVENT_WRITERS", [])
        yield


def train(heads: Path, output_dir: Path, vis: str) -> NerfgenTrainer:
    """A run of five steps, the same whatever `vis` is, with a panel at steps 2 and 4."""
    seed_everything()
    writer.EVENT_WRITERS.clear()
    config = short_config(heads, output_dir, STEPS, vis=vis)
    config.steps_per_eval_image, config.logging.steps_per_log = EVERY, 1
    config.save_config()
    trainer = set_up(config)
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def trained(heads, tmp_path_factory) -> NerfgenTrainer:
    return train(heads, tmp_path_factory.mktemp("tensorboard"), "tensorboard")


@pytest.fixture(scope="module")
def events(trained) -> EventAccumulator:
    """What tensorboard reads of the training, all of it."""
    writer.EVENT_WRITERS[0].tb_writer.flush()
    return EventAccumulator(str(trained.base_dir), size_guidance={IMAGES: 0}).Reload()


def tile(panel, row: int, column: int) -> np.ndarray:
    top, left = GAP + row * (SIZE + GAP), LABEL_WIDTH + column * (SIZE + GAP)
    return panel[top : top + SIZE, left : left + SIZE]


def scalar(events: EventAccumulator, name: str, step: int) -> float:
    return next(event.value for event in events.Scalars(name) if event.step == step)


def test_a_panel_sets_photographs_beside_what_the_model_makes_of_them(trained):
    panel = draw_panel(trained, STEPS)
    photographs = trained.pipeline.datamanager.train_dataset
    model = trained.pipeline.model
    view = ClassView(model.eval(), photographs.cameras)
    assert panel.shape == (GAP + 9 * (SIZE + GAP), LABEL_WIDTH + 3 * (SIZE + GAP), 3)
    for column in range(3):
        camera = photographs.cameras[column : column + 1]
        camera.rescale_output_resolution(SIZE / 32)
        render = view.render(view.code(column), camera)
        seen, matte = photographs.get_numpy_image(column), photographs.get_numpy_matte(column)
        expected = {
            PHOTOGRAPH: resize(seen, SIZE),
            RECONSTRUCTION: to_bytes(render["rgb"]),
            MATTE: np.stack([np.asarray(Image.fromarray(matte).resize((SIZE, SIZE), 3))] * 3, axis=-1),
            ACCUMULATION: to_bytes(render["accumulation"].expand(-1, -1, 3)),
        }
        for row, picture in expected.items():
            np.testing.assert_array_equal(tile(panel, row, column), picture)
        assert len({tile(panel, row, column).tobytes() for row in range(9)}) == 9


def test_drawing_leaves_the_model_training_and_draws_the_same_again(trained):
    trained.pipeline.train()
    first, second = draw_panel(trained, 1), draw_panel(trained, 2)
    np.testing.assert_array_equal(first, second)
    assert trained.pipeline.model.training


def test_what_the_model_makes_changes_with_its_weights_and_the_photographs_stay(trained):
    before, model = draw_panel(trained, 1), trained.pipeline.model
    state = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    after = draw_panel(trained, 1)
    model.load_state_dict(state)
    for column in range(3):
        for row in range(9):
            is_same = (tile(before, row, column) == tile(after, row, column)).all()
            assert is_same == (row in (PHOTOGRAPH, MATTE)), (row, column)


def test_tensorboard_holds_the_panels_and_the_last_shows_the_last_weights(trained, events, tmp_path):
    stored = events.Images(EVENT)
    assert [image.step for image in stored] == [2, 4]
    (tmp_path / "last.png").write_bytes(stored[-1].encoded_image_string)
    last = np.asarray(Image.open(tmp_path / "last.png").convert("RGB")).astype(int)
    assert np.abs(last - draw_panel(trained, STEPS)).max() <= 1
    assert stored[0].encoded_image_string != stored[1].encoded_image_string


def test_the_scalars_are_logged_and_the_latent_norm_is_that_of_all_rows(trained, events):
    names = events.Tags()["scalars"]
    for name in ("psnr", "mask_iou", "hard_surface", "latent_norm"):
        assert f"Train Metrics Dict/{name}" in names
    assert {"Eval Images Metrics/psnr", "Eval Images Metrics/mask_iou"} <= set(names)
    rows = trained.pipeline.model.latent_table.codes.weight.detach().numpy()
    by_hand = np.mean([np.sqrt((row.astype(np.float64) ** 2).sum()) for row in rows])
    assert scalar(events, "Train Metrics Dict/latent_norm", STEPS - 1) == pytest.approx(by_hand, rel=1e-5)
    mult = trained.config.pipeline.model.losses.hard_surface_loss_mult
    for step in range(STEPS):
        value = scalar(events, "Train Metrics Dict/hard_surface", step)
        weighted = scalar(events, "Train Loss Dict/hard_surface_loss", step)
        assert value > 0 and weighted == pytest.approx(mult * value, rel=1e-5)


def test_the_latent_norm_is_read_only_where_it_is_logged(trained, monkeypatch):
    monkeypatch.setattr(trained.config.logging, "steps_per_log", 3)
    logged = [step for step in range(7) if "latent_norm" in trained.train_iteration(step)[2]]
    assert logged == [0, 3, 6]


def test_training_is_the_same_without_panels(heads, trained, tmp_path, monkeypatch):
    state = torch.load(next(trained.checkpoint_dir.glob("*.ckpt")), map_location="cpu", weights_only=True)
    drawn: list[int] = []
    monkeypatch.setattr(training_panels, "put_panel", lambda trainer, step: drawn.append(step))
    plain = train(heads, tmp_path, "tensorboard").pipeline.state_dict()
    assert drawn == [2, 4]
    for name, value in state["pipeline"].items():
        assert torch.equal(value, plain[name]), name


def test_wandb_without_an_account_holds_the_panels(trained, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    quick = {"WANDB_CONSOLE": "off", "WANDB_DISABLE_CODE": "true", "WANDB__DISABLE_STATS": "true"}
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", **quick}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(writer, "EVENT_WRITERS", [writer.WandbWriter(tmp_path, "heads")])
    put_panel(trained, EVERY)
    writer.write_out_storage()
    wandb.finish()
    (file,) = tmp_path.glob(f"wandb/offline-run-*/files/media/images/{EVENT}_*.png")
    stored = np.asarray(Image.open(file).convert("RGB")).astype(int)
    assert np.abs(stored - draw_panel(trained, EVERY)).max() <= 1


def test_a_photograph_that_is_gone_costs_its_panel_and_not_the_training(trained, monkeypatch, capsys):
    photographs = trained.pipeline.datamanager.train_dataset
    gone = [path.with_name("gone.png") for path in photographs.image_filenames]
    monkeypatch.setattr(photographs._dataparser_outputs, "image_filenames", gone)
    monkeypatch.setattr(writer, "EVENT_STORAGE", [])
    put_panel(trained, 7)
    assert "step 7" in capsys.readouterr().out and not writer.EVENT_STORAGE
    assert trained.pipeline.model.training


@pytest.mark.filterwarnings("error:No `image_root`")
def test_the_viewer_shows_the_last_panel_in_place_of_the_one_before(heads, tmp_path, monkeypatch):
    shown = []
    draw = training_panels.draw_panel
    monkeypatch.setattr(training_panels, "draw_panel", lambda *args: shown.append(draw(*args)) or shown[-1])
    trainer = train(heads, tmp_path, "viewer")
    trainer.shutdown()
    assert len(shown) == 2
    handle = trainer.pipeline.model.viewer_panel._controls._training
    assert handle.content == f"Step 4\n\n![]({data_url(shown[1])})"
    folder = handle._gui_api._container_handle_from_id[handle._parent_container_id]
    assert len(folder._children) == 1


def test_the_identities_of_a_panel_are_evenly_spread_over_those_that_train():
    def shown(rows: list[int], training: list[int]) -> list[int]:
        cameras = SimpleNamespace(metadata={"cam_idx": torch.tensor(rows)[:, None]})
        metadata = {"training_images": np.array(training)}
        return shown_identities(SimpleNamespace(cameras=cameras, metadata=metadata))

    assert shown(list(range(100)), list(range(100))) == [0, 33, 66, 99]
    assert shown(list(range(10)), [1, 2, 3, 5, 8]) == [1, 2, 3, 8]
    assert shown([0, 0, 1, 1, 2, 2], [0, 1, 2, 3]) == [0, 1]
    assert shown([0], [0]) == [0]
