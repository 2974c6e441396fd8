"""MediaPipe's two programming interfaces, each as plain functions from a photograph to arrays.

`mp.solutions` carries its models in the wheel. The Tasks API takes them from files, and is all that 0.10.30
and later have. Nothing here imports MediaPipe before a function is called. Its libraries write to standard
error from C++; this is closed while they work, and problems arrive as exceptions.
"""

import atexit
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.preprocessing.landmarks.models import LANDMARK_COUNT, NOSE

Photograph = UInt8[np.ndarray, "height width 3"]


class Detection(NamedTuple):
    """What a face detector finds of one face, in pixels."""

    score: float
    """How sure the detector is, in (0, 1)."""
    keypoints: Float[np.ndarray, "6 2"]
    """Subject's right eye, left eye, nose, mouth, right ear, left ear."""
    middle: Float[np.ndarray, "2"]
    """Middle of its box."""
    width: float
    """Width of its box, a little more than the face's."""


class Face(NamedTuple):
    """A face and its landmarks."""

    landmarks: Float[np.ndarray, "468 3"]
    """Of the face mesh: pixels, and relative depth in pixels too; smaller is nearer."""
    detection: Detection
    """The detection that the landmarks start from."""


class FaceDetector(NamedTuple):
    """A network that finds faces, but no landmarks."""

    detect: Callable[[Photograph], list[Detection]]
    smallest: float
    """The narrowest face that it finds reliably, as a part of the longer side of the picture."""


FindFaces = Callable[[Photograph], list[Face]]
"""The faces in a photograph, the surest first."""
FindMatte = Callable[[Photograph], Float[np.ndarray, "height width"]]
"""Matte of the people in a photograph, in [0, 1]."""
FACE_MESH_GRAPH = "mediapipe/modules/face_landmark/face_landmark_front_cpu.binarypb"
FULL_RANGE, SHORT_RANGE = 0.06, 0.13
"""`FaceDetector.smallest` of MediaPipe's two detectors, measured on portraits scaled down."""
CANDIDATE_SCORE = 0.35
"""Detections that the full-range detector is surer of are candidates, which a look has to confirm."""
DETECTOR_IN_BUNDLE = "face_detector.tflite"
LANDMARKER_OPTION = "--landmark-model-file"
SEGMENTER_OPTION = "--matte-model-file"
SCALARS = np.dtype([("head", "V2"), *((name, [("tag", "u1"), ("value", "<f4")]) for name in "xyz")])
"""A landmark as protobuf writes it, where its three coordinates are all it has."""


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Run the block and discard what C++ libraries write to file descriptor 2."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def bundled_face_mesh(most_faces: int) -> FindFaces:
    """Open the face mesh of `mp.solutions`, with the detections that it starts from.

    Raises:
        NerfgenError: MediaPipe is missing, or has no models in it.
    """
    _solutions(LANDMARKER_OPTION, "face_landmarker.task")
    from mediapipe.python.solution_base import SolutionBase

    with quiet_stderr():
        # As `FaceMesh` does, but `FaceMesh` does not return the graph's detections.
        mesh = _undecoded(SolutionBase)(
            binary_graph_path=FACE_MESH_GRAPH,
            side_inputs={"num_faces": most_faces, "with_attention": True, "use_prev_landmarks": False},
            outputs=["multi_face_landmarks", "face_detections"],
        )
        # The graph starts with its first image, and says so.
        mesh.process(np.zeros((64, 64, 3), np.uint8))

    def find(photograph: Photograph) -> list[Face]:
        with quiet_stderr():
            found = mesh.process(photograph)
        landmarks = [
            _in_pixels(decode_landmarks(face), photograph) for face in found.multi_face_landmarks or []
        ]
        return _matched(landmarks, [_detection(one, photograph) for one in found.face_detections or []])

    return find


def bundled_face_detector() -> FaceDetector:
    """Open the full-range face detector of `mp.solutions`, for faces that are small in the photograph.

    Raises:
        NerfgenError: MediaPipe is missing, or has no models in it.
    """
    face_detection = _solutions(LANDMARKER_OPTION, "face_landmarker.task").face_detection
    with quiet_stderr():
        detection = _undecoded(face_detection.FaceDetection)(
            model_selection=1, min_detection_confidence=CANDIDATE_SCORE
        )
        detection.process(np.zeros((64, 64, 3), np.uint8))

    def detect(photograph: Photograph) -> list[Detection]:
        with quiet_stderr():
            found = detection.process(photograph).detections or []
        return [_detection(one, photograph) for one in found]

    return FaceDetector(detect, FULL_RANGE)


def face_landmarker(model_file: Path, most_faces: int) -> FindFaces:
    """Open the Tasks API's FaceLandmarker with the model bundle `model_file`.

    Raises:
        UsageError: the file is missing or no such bundle.
        NerfgenError: MediaPipe is missing, or too old for the Tasks API.
    """

    def make(vision: Any, base_options: Any) -> Any:
        options = vision.FaceLandmarkerOptions(base_options=base_options, num_faces=most_faces)
        return vision.FaceLandmarker.create_from_options(options)

    landmarker, as_image = _task(make, model_file, LANDMARKER_OPTION, "face_landmarker.task")
    detector = face_detector(model_file)

    def find(photograph: Photograph) -> list[Face]:
        with quiet_stderr():
            faces = landmarker.detect(as_image(photograph)).face_landmarks
        landmarks = [_in_pixels(np.array([(p.x, p.y, p.z) for p in face]), photograph) for face in faces]
        return _matched(landmarks, detector.detect(photograph)) if landmarks else []

    return find


def face_detector(model_file: Path) -> FaceDetector:
    """Open the Tasks API's FaceDetector with the short-range detector in a FaceLandmarker's bundle.

    Raises:
        UsageError: the file is missing or no such bundle.
        NerfgenError: MediaPipe is missing, or too old for the Tasks API.
    """

    def make(vision: Any, base_options: Any) -> Any:
        with zipfile.ZipFile(model_file) as bundle:
            base_options.model_asset_path = None
            base_options.model_asset_buffer = bundle.read(DETECTOR_IN_BUNDLE)
        return vision.FaceDetector.create_from_options(vision.FaceDetectorOptions(base_options=base_options))

    detector, as_image = _task(make, model_file, LANDMARKER_OPTION, "face_landmarker.task")

    def detect(photograph: Photograph) -> list[Detection]:
        height, width = photograph.shape[:2]
        with quiet_stderr():
            found = detector.detect(as_image(photograph)).detections
        return [
            Detection(
                one.categories[0].score,
                np.array([(point.x * width, point.y * height) for point in one.keypoints]),
                np.array([one.bounding_box.origin_x, one.bounding_box.origin_y])
                + np.array([one.bounding_box.width, one.bounding_box.height]) / 2,
                float(one.bounding_box.width),
            )
            for one in found
        ]

    return FaceDetector(detect, SHORT_RANGE)


def bundled_selfie_segmentation() -> FindMatte:
    """Open the selfie segmentation of `mp.solutions`.

    Raises:
        NerfgenError: MediaPipe is missing, or has no models in it.
    """
    selfie_segmentation = _solutions(SEGMENTER_OPTION, "selfie_segmenter.tflite").selfie_segmentation
    with quiet_stderr():
        segmentation = selfie_segmentation.SelfieSegmentation(model_selection=0)
        segmentation.process(np.zeros((64, 64, 3), np.uint8))

    def find(photograph: Photograph) -> Float[np.ndarray, "height width"]:
        with quiet_stderr():
            return np.asarray(segmentation.process(photograph).segmentation_mask)

    return find


def image_segmenter(model_file: Path) -> FindMatte:
    """Open the Tasks API's ImageSegmenter with the model `model_file`.

    A model of one category gives the matte itself. With several, the first has to be the background, and the
    matte is everything else.

    Raises:
        UsageError: the file is missing, no such model, or one of categories without a background.
        NerfgenError: MediaPipe is missing, or too old for the Tasks API.
    """

    def make(vision: Any, base_options: Any) -> Any:
        options = vision.ImageSegmenterOptions(
            base_options=base_options, output_confidence_masks=True, output_category_mask=False
        )
        return vision.ImageSegmenter.create_from_options(options)

    segmenter, as_image = _task(make, model_file, SEGMENTER_OPTION, "selfie_segmenter.tflite")
    labels = [label.lower() for label in segmenter.labels]
    if len(labels) > 1 and labels[0] != "background":
        raise UsageError(
            f"{SEGMENTER_OPTION} {model_file}: segments {', '.join(labels[:3])}… and no background; "
            "give selfie_segmenter.tflite or selfie_multiclass_256x256.tflite"
        )

    def find(photograph: Photograph) -> Float[np.ndarray, "height width"]:
        with quiet_stderr():
            found = segmenter.segment(as_image(photograph)).confidence_masks
            # The view is in MediaPipe's memory, which is freed with `found`.
            first = np.array(found[0].numpy_view()).reshape(photograph.shape[:2])
        return first if len(found) == 1 else 1 - first

    return find


def decode_landmarks(face: Any) -> Float[np.ndarray, "points 3"]:
    """Decode the coordinates of a `NormalizedLandmarkList`, given as a message or as the bytes of one.

    Protobuf in pure Python, which nerfstudio's old version of it is, takes as long to decode a face as the
    networks take to find it. If every landmark is three floats, numpy reads them in place.
    """
    if isinstance(face, bytes):
        if len(face) % SCALARS.itemsize == 0:
            points = np.frombuffer(face, SCALARS)
            tags = [points["head"].view("<u2"), *(points[name]["tag"] for name in "xyz")]
            # Field 1 of 15 bytes; in it fields 1, 2 and 3 of 4 bytes.
            if all((tag == code).all() for tag, code in zip(tags, (0x0F0A, 0x0D, 0x15, 0x1D), strict=True)):
                return np.stack([points[name]["value"] for name in "xyz"], axis=1).astype(np.float64)
        from mediapipe.framework.formats.landmark_pb2 import NormalizedLandmarkList

        face = NormalizedLandmarkList.FromString(face)
    return np.array([(point.x, point.y, point.z) for point in face.landmark])


def _undecoded(solution: Any) -> Any:
    """Return the solution with its lists of messages left as bytes, if MediaPipe is built as we know it."""
    try:
        from mediapipe.python._framework_bindings import _packet_getter

        serialized = _packet_getter._get_serialized_proto_list
        decode = solution._get_packet_content
    except (ImportError, AttributeError):
        return solution

    class Undecoded(solution):  # type: ignore[misc]
        def _get_packet_content(self, packet_type: Any, packet: Any) -> Any:
            if getattr(packet_type, "name", "") != "PROTO_LIST" or packet.is_empty():
                return decode(self, packet_type, packet)
            return serialized(packet)

    return Undecoded


def _in_pixels(points: Float[np.ndarray, "points 3"], photograph: Photograph) -> Float[np.ndarray, "468 3"]:
    height, width = photograph.shape[:2]
    return points[:LANDMARK_COUNT] * [width, height, width]


def _detection(found: Any, photograph: Photograph) -> Detection:
    """Convert a detection of MediaPipe's, given as a message or as the bytes of one, to a `Detection`."""
    if isinstance(found, bytes):
        from mediapipe.framework.formats.detection_pb2 import Detection as Message

        found = Message.FromString(found)
    height, width = photograph.shape[:2]
    box = found.location_data.relative_bounding_box
    return Detection(
        found.score[0],
        np.array([(point.x * width, point.y * height) for point in found.location_data.relative_keypoints]),
        np.array([(box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height]),
        box.width * width,
    )


def _matched(landmarks: list[Float[np.ndarray, "468 3"]], detections: list[Detection]) -> list[Face]:
    """Pair each face with the detection whose nose is nearest to its own; return the surest first."""
    faces = []
    for points in landmarks:
        near = min(
            detections,
            key=lambda one: float(np.linalg.norm(one.keypoints[2] - points[NOSE, :2])),
            default=None,
        )
        if near is not None:
            faces.append(Face(points, near))
    return sorted(faces, key=lambda face: -face.detection.score)


def _mediapipe() -> Any:
    try:
        with quiet_stderr():
            import mediapipe
    # A half-installed MediaPipe fails with any exception, depending on the library that is missing.
    except Exception as error:
        raise NerfgenError(
            f"mediapipe: cannot be imported ({error}); pip install 'mediapipe>=0.10.9,<0.10.30'"
        ) from error
    return mediapipe


def _solutions(option: str, name: str) -> Any:
    mediapipe = _mediapipe()
    try:
        with quiet_stderr():
            return mediapipe.solutions
    except AttributeError as error:
        raise NerfgenError(
            f"mediapipe {mediapipe.__version__}: carries no models; give {option} FILE, "
            f"MediaPipe's {name}, or pip install 'mediapipe>=0.10.9,<0.10.30', which has its own"
        ) from error


def _task(
    make: Callable[[Any, Any], Any], model_file: Path, option: str, name: str
) -> tuple[Any, Callable[[Photograph], Any]]:
    """Make a task of the Tasks API, and the function that makes its image from an array."""
    if not Path(model_file).is_file():
        raise UsageError(f"{option} {model_file}: no such file; give the path of MediaPipe's {name}")
    mediapipe = _mediapipe()
    try:
        with quiet_stderr():
            from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise NerfgenError(
            f"mediapipe {mediapipe.__version__}: has no working Tasks API ({error}), which {option} needs; "
            "leave the option out, or pip install 'mediapipe>=0.10.9'"
        ) from error
    try:
        with quiet_stderr():
            task = make(vision, BaseOptions(model_asset_path=str(model_file)))
    except (RuntimeError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{option} {model_file}: mediapipe {mediapipe.__version__} cannot use it "
            f"({str(error).splitlines()[0]}); give MediaPipe's {name}"
        ) from error
    atexit.register(_close, task)

    def as_image(photograph: Photograph) -> Any:
        return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(photograph))

    return task, as_image


def _close(task: Any) -> None:
    """Close a task before the interpreter ends; its destructor would complain about modules that are gone.

    From MediaPipe 1 on, closing needs a thread, which may be refused at this time; this does no harm.
    """
    with suppress(RuntimeError), quiet_stderr():
        task.close()
