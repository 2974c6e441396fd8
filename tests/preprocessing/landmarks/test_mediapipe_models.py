"""MediaPipe by both of its interfaces, for real: the wheel's own models are packed for the Tasks API too."""

import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.preprocessing.landmarks import mediapipe_backends as backends
from nerfgen_ns.preprocessing.landmarks import mediapipe_models as models
from nerfgen_ns.preprocessing.landmarks.mediapipe_models import FaceMesh, MediaPipeMattes
from nerfgen_ns.preprocessing.landmarks.models import face_width
from nerfgen_ns.preprocessing.photographs import RejectedError
from tests.helpers.real_face import astronaut, mediapipe, needs_bundled_models

MODULES = Path(mediapipe.__file__).parent / "modules"


@pytest.fixture(scope="module", name="astronaut")
def face_of_the_astronaut() -> np.ndarray:
    return np.ascontiguousarray(astronaut()[:256, 80:400])


@pytest.fixture(scope="module")
def face_landmarker_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model bundle of the wheel's models, as the Tasks API wants it.

    It expects 478 points, irises included, in one tensor; the wheel's model has 468, so zeros are appended.
    """
    flatbuffers = pytest.importorskip("flatbuffers", reason="edits the model")
    schema = pytest.importorskip("mediapipe.tasks.metadata.schema_py_generated", reason="edits the model")
    data = (MODULES / "face_landmark" / "face_landmark.tflite").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    graph = model.subgraphs[0]
    mesh, presence = graph.outputs
    buffer, paddings, padded = schema.BufferT(), schema.TensorT(), schema.TensorT()
    code, pad = schema.OperatorCodeT(), schema.OperatorT()
    buffer.data = np.frombuffer(np.array([[0, 0], [0, 0], [0, 0], [0, 30]], np.int32).tobytes(), np.uint8)
    paddings.name, paddings.shape, paddings.type = b"paddings", [4, 2], schema.TensorType.INT32
    paddings.buffer = len(model.buffers)
    padded.name, padded.shape, padded.type = b"padded", [1, 1, 1, 1434], schema.TensorType.FLOAT32
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.PAD
    code.version = 1
    pad.opcodeIndex, pad.inputs = len(model.operatorCodes), [mesh, len(graph.tensors)]
    pad.outputs = [len(graph.tensors) + 1]
    pad.builtinOptionsType, pad.builtinOptions = schema.BuiltinOptions.PadOptions, schema.PadOptionsT()
    model.buffers.append(buffer)
    model.operatorCodes.append(code)
    graph.tensors.extend([paddings, padded])
    graph.operators.append(pad)
    graph.outputs = [*pad.outputs, presence]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path_factory.mktemp("models") / "face_landmarker.task"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bundle:
        bundle.write(MODULES / "face_detection" / "face_detection_short_range.tflite", "face_detector.tflite")
        bundle.writestr("face_landmarks_detector.tflite", bytes(builder.Output()))
    return path


@pytest.fixture(scope="module")
def selfie_segmenter_tflite() -> Path:
    return MODULES / "selfie_segmentation" / "selfie_segmentation.tflite"


def reference_landmarks(photograph: np.ndarray, refine: bool) -> np.ndarray:
    """The face mesh as MediaPipe's documentation reads it, in pixels."""
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=5, refine_landmarks=refine
    )
    (face,) = mesh.process(photograph).multi_face_landmarks
    height, width = photograph.shape[:2]
    points = np.array([(point.x, point.y, point.z) for point in face.landmark[:468]])
    return points * [width, height, width]


@needs_bundled_models
def test_landmarks_read_from_bytes_are_those_of_the_messages(astronaut):
    (found,) = backends.bundled_face_mesh(5)(astronaut)
    np.testing.assert_array_equal(found.landmarks, reference_landmarks(astronaut, refine=True))


@needs_bundled_models
@pytest.mark.parametrize("extra", [{}, {"visibility": 0.5}, {"presence": 0.0}])
def test_landmarks_with_and_without_further_fields_are_decoded(extra):
    from mediapipe.framework.formats.landmark_pb2 import NormalizedLandmarkList

    points = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    points[2] = 0
    message = NormalizedLandmarkList()
    for place, (x, y, z) in enumerate(points):
        message.landmark.add(x=x, y=y, z=z, **(extra if place == 3 else {}))
    np.testing.assert_array_equal(backends.decode_landmarks(message.SerializeToString()), points)
    np.testing.assert_array_equal(backends.decode_landmarks(message), points)


@needs_bundled_models
def test_bytes_of_the_usual_length_but_another_layout_are_decoded():
    from mediapipe.framework.formats.landmark_pb2 import NormalizedLandmarkList

    message = NormalizedLandmarkList()
    for place in range(17):
        # 12 bytes each, so 12 × 17 together: a multiple of what a whole landmark takes.
        message.landmark.add(x=place, z=-place)
    written = message.SerializeToString()
    assert len(written) % backends.SCALARS.itemsize == 0
    np.testing.assert_array_equal(backends.decode_landmarks(written)[:, 0], np.arange(17))
    np.testing.assert_array_equal(backends.decode_landmarks(written)[:, 1:], [(0, -p) for p in range(17)])


@needs_bundled_models
def test_the_tasks_api_finds_the_same_landmarks(astronaut, face_landmarker_task):
    (found,) = backends.face_landmarker(face_landmarker_task, 5)(astronaut)
    np.testing.assert_allclose(found.landmarks, reference_landmarks(astronaut, refine=False), atol=0.05)


@needs_bundled_models
def test_the_tasks_api_finds_the_same_matte(astronaut, selfie_segmenter_tflite):
    by_task, bundled = MediaPipeMattes(selfie_segmenter_tflite)(astronaut), MediaPipeMattes()(astronaut)
    assert by_task.shape == bundled.shape == astronaut.shape[:2]
    assert by_task.min() >= 0 and by_task.max() <= 1 and 0.1 < by_task.mean() < 0.9
    assert np.abs(by_task - bundled).mean() < 0.005


@needs_bundled_models
def test_both_landmark_models_agree_and_reject_a_photograph_without_a_face(astronaut, face_landmarker_task):
    bundled, by_task = FaceMesh(), FaceMesh(face_landmarker_task)
    (first, _), (second, _) = bundled(astronaut), by_task(astronaut)
    # The bundled one is another network, which refines eyes and lips.
    apart = np.linalg.norm((first - second)[:, :2], axis=1)
    assert np.median(apart) < 0.02 * face_width(first[:, :2])
    for model in (bundled, by_task):
        with pytest.raises(RejectedError):
            model(np.full((200, 200, 3), 128, np.uint8))


@needs_bundled_models
def test_model_files_are_found_in_the_environment(
    monkeypatch, astronaut, face_landmarker_task, selfie_segmenter_tflite
):
    monkeypatch.setenv(models.FACE_LANDMARKER_VARIABLE, str(face_landmarker_task))
    monkeypatch.setenv(models.SELFIE_SEGMENTER_VARIABLE, str(selfie_segmenter_tflite))
    monkeypatch.setattr(models, "bundled_face_mesh", None)
    monkeypatch.setattr(models, "bundled_face_detector", None)
    monkeypatch.setattr(models, "bundled_selfie_segmentation", None)
    assert FaceMesh()(astronaut)[0].shape == (468, 3)
    assert MediaPipeMattes()(astronaut).shape == astronaut.shape[:2]


@pytest.mark.parametrize(
    ("model", "option"),
    [(FaceMesh, "--landmark-model-file"), (MediaPipeMattes, "--matte-model-file")],
)
def test_a_model_file_that_cannot_be_used_is_named_with_its_option(tmp_path, model, option):
    with pytest.raises(UsageError, match=rf"{option} .*missing\.task: "):
        model(tmp_path / "missing.task")
    (tmp_path / "text.task").write_text("no model")
    with pytest.raises(UsageError, match=rf"{option} .*text\.task: "):
        model(tmp_path / "text.task")


@pytest.mark.parametrize(
    ("model", "option"),
    [(FaceMesh, "--landmark-model-file"), (MediaPipeMattes, "--matte-model-file")],
)
def test_without_bundled_models_the_error_names_the_option_for_a_file(monkeypatch, model, option):
    without_models = ModuleType("mediapipe")
    without_models.__version__ = "0.10.35"
    monkeypatch.setitem(sys.modules, "mediapipe", without_models)
    with pytest.raises(NerfgenError, match=rf"0\.10\.35: .*{option} "):
        model()


def test_without_mediapipe_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(NerfgenError, match="mediapipe"):
        FaceMesh()


def fake_segmenter(monkeypatch, labels, masks):
    """The Tasks API's ImageSegmenter with these labels and confidence masks."""
    result = SimpleNamespace(
        confidence_masks=[SimpleNamespace(numpy_view=lambda m=mask: m) for mask in masks]
    )
    segmenter = SimpleNamespace(labels=labels, segment=lambda image: result)
    monkeypatch.setattr(backends, "_task", lambda *arguments: (segmenter, lambda photograph: photograph))


def test_a_segmenter_of_many_categories_gives_all_but_the_background(monkeypatch):
    background = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    fake_segmenter(monkeypatch, ["background", "hair"], [background, 1 - background])
    matte = backends.image_segmenter(Path("multiclass.tflite"))(np.zeros((3, 4, 3), np.uint8))
    np.testing.assert_allclose(matte, 1 - background)


def test_masks_with_a_channel_axis_are_read(monkeypatch):
    fake_segmenter(monkeypatch, ["selfie"], [np.full((3, 4, 1), 0.25, np.float32)])
    matte = backends.image_segmenter(Path("selfie.tflite"))(np.zeros((3, 4, 3), np.uint8))
    np.testing.assert_array_equal(matte, np.full((3, 4), 0.25))


def test_a_segmenter_of_categories_without_a_background_is_refused(monkeypatch):
    fake_segmenter(monkeypatch, ["cat", "dog"], [])
    with pytest.raises(UsageError, match=r"animals\.tflite"):
        backends.image_segmenter(Path("animals.tflite"))
