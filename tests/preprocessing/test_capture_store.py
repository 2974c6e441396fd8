"""Captures survive on disk, whatever moment the process that wrote them ended at."""

import numpy as np
import pytest

from nerfgen_ns.preprocessing.store import CaptureStore, gather_landmarks


@pytest.fixture
def store(tmp_path):
    """A store with two captures and a rejected photograph."""
    store = CaptureStore(tmp_path / "out/work", tmp_path / "out")
    with store:
        for number, key in enumerate("ab"):
            files = store.files(key)
            files.image.write_bytes(b"image")
            files.matte.write_bytes(b"matte")
            store.append(key, {"notes": [key], "landmarks": landmarks(number)})
        store.append("c", {"reason": "no face", "mend": "use another"})
    return store


def landmarks(seed):
    return np.random.default_rng(seed).normal(size=(5, 3)).astype(np.float32)


def test_what_was_kept_is_read_back(store):
    captures = store.read()
    assert list(captures) == ["a", "b", "c"]
    assert [capture.rejected for capture in captures.values()] == [False, False, True]
    assert captures["b"].record == {"notes": ["b"]} and captures["c"].record["mend"] == "use another"
    np.testing.assert_array_equal(captures["b"].landmarks()[:, :3], landmarks(1))
    np.testing.assert_array_equal(captures["b"].landmarks()[:, 3], 1)
    assert captures["b"].image.read_bytes() == b"image" and captures["b"].matte.read_bytes() == b"matte"
    assert captures["c"].image is None and captures["c"].landmarks().shape == (0, 4)


def test_missing_depth_missing_landmarks_and_confidence_are_kept(tmp_path):
    flat = landmarks(0)[:, :2].copy()
    flat[3] = np.nan
    with CaptureStore(tmp_path / "store", tmp_path) as store:
        for key, confidence in (("without", None), ("with", np.arange(5) / 10)):
            store.files(key).image.touch()
            store.append(key, {"landmarks": flat, "confidence": confidence})
    captures = store.read()
    assert captures["with"].matte is None, "no matte was written"
    rows = captures["without"].landmarks()
    assert np.isnan(rows[:, 2]).all() and np.isnan(rows[3, :2]).all()
    np.testing.assert_array_equal(rows[:, 3], [1, 1, 1, 0, 1])
    np.testing.assert_array_equal(captures["with"].landmarks()[:, 3], np.float32([0, 0.1, 0.2, 0.3, 0.4]))


def test_a_record_cut_anywhere_is_as_if_never_written_and_work_goes_on(store):
    whole = (store.folder / "records.jsonl").read_bytes()
    positions = (store.folder / "landmarks.f32").read_bytes()
    second = whole.index(b"\n") + 1
    for end in range(second, whole.index(b"\n", second) + 1):
        (store.folder / "records.jsonl").write_bytes(whole[:end])
        assert list(store.read()) == ["a"]
    (store.folder / "landmarks.f32").write_bytes(positions[: len(positions) // 2 + 7])
    with store:
        store.append("b", {"notes": ["b"], "landmarks": landmarks(1)})
        store.append("c", {"reason": "no face", "mend": "use another"})
    assert (store.folder / "records.jsonl").read_bytes() == whole
    assert (store.folder / "landmarks.f32").read_bytes() == positions


def test_a_record_without_its_landmarks_does_not_count(store):
    positions = (store.folder / "landmarks.f32").read_bytes()
    (store.folder / "landmarks.f32").write_bytes(positions[:-1])
    assert list(store.read()) == ["a"]


def test_a_capture_whose_image_was_removed_does_not_count(store):
    store.files("a").image.unlink()
    assert list(store.read()) == ["b", "c"]


def test_landmarks_are_gathered_in_the_order_asked_for_and_stay_on_disk(store, tmp_path):
    captures = store.read()
    gathered = gather_landmarks([captures["b"], captures["a"]], tmp_path / "landmarks.f32")
    assert isinstance(gathered, np.memmap)
    np.testing.assert_array_equal(gathered[..., :3], [landmarks(1), landmarks(0)])
