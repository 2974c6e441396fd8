"""A photograph of a face, and whether MediaPipe is here with models that find it."""

import numpy as np
import pytest

mediapipe = pytest.importorskip("mediapipe", reason="mediapipe is not installed")
needs_bundled_models = pytest.mark.skipif(
    not hasattr(mediapipe, "solutions"), reason="this version of mediapipe carries no models"
)


def astronaut() -> np.ndarray:
    """scikit-image's photograph of an astronaut, (512, 512, 3); skips the test where it is missing."""
    data = pytest.importorskip("skimage.data", reason="scikit-image's astronaut is the test's photograph")
    return data.astronaut()
