"""Captures survive on disk, whatever moment the process that wrote them ended at."""

import os
import signal
import sqlite3

import numpy as np
import pytest

from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.preprocessing.prepared_folder import PreparedFolder
from nerfgen_ns.preprocessing.store import DATABASE, CaptureStore, gather_landmarks


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


def append(store, key, number):
    files = store.files(key)
    files.image.write_bytes(b"image")
    store.append(key, {"notes": [], "landmarks": landmarks(number)})


def killed_after(step, work):
    """Do the work in a process that is killed at a step of SQLite's; whether it came to that."""
    process = os.fork()
    if process == 0:
        left, connect = step, sqlite3.connect

        def count():
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return 0

        def counting(*arguments, **options):
            database = connect(*arguments, **options)
            database.set_progress_handler(count, 1)
            return database

        try:
            sqlite3.connect = counting
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_killed_at_any_step_of_a_record_it_is_whole_or_as_if_never_written_and_work_goes_on(tmp_path):
    step, kept = 1, set()
    while True:
        store = CaptureStore(tmp_path / f"{step}/store", tmp_path)

        def work(store=store):
            with store:
                append(store, "a", 0)
                append(store, "b", 1)

        if not killed_after(step, work):
            break
        captures = store.read()
        assert list(captures) in ([], ["a"], ["a", "b"])
        kept.add(len(captures))
        for number, capture in enumerate(captures.values()):
            np.testing.assert_array_equal(capture.landmarks()[:, :3], landmarks(number))
        work()
        assert sorted(store.read()) == ["a", "b"]
        step += 3
    assert {0, 1} <= kept and step > 50


def test_whatever_was_appended_when_the_process_is_killed_is_there(tmp_path):
    """At moments that nothing chooses: SQLite may be within a system call."""
    for trial in range(8):
        store = CaptureStore(tmp_path / f"{trial}/store", tmp_path)
        told, tell = os.pipe()
        process = os.fork()
        if process == 0:
            with store:
                for number in range(10_000):
                    append(store, str(number), number)
                    os.write(tell, b".")
            os._exit(0)
        os.close(tell)
        appended = 0
        while appended < 20 + 7 * trial:
            appended += len(os.read(told, 1))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        while os.read(told, 1):
            appended += 1
        os.close(told)
        captures = store.read()
        assert list(captures) == [str(number) for number in range(len(captures))]
        assert len(captures) in (appended, appended + 1)
        for number, capture in enumerate(captures.values()):
            np.testing.assert_array_equal(capture.landmarks()[:, :3], landmarks(number))


@pytest.mark.parametrize("damage", ["no database", "cut", "overwritten"])
def test_a_damaged_store_counts_as_empty_and_work_goes_on(store, damage):
    path = store.folder / DATABASE
    whole = path.read_bytes()
    path.write_bytes(
        {
            "no database": b"somebody's notes" * 400,
            "cut": whole[: len(whole) // 2],
            "overwritten": whole[:4096] + bytes(len(whole) - 4096),
        }[damage]
    )
    assert store.read() == {}
    with store:
        append(store, "a", 0)
    assert list(store.read()) == ["a"]


def test_a_photograph_that_is_captured_again_has_its_new_record(store):
    with store:
        append(store, "c", 2)
    captures = store.read()
    assert sorted(captures) == ["a", "b", "c"] and not captures["c"].rejected
    np.testing.assert_array_equal(captures["c"].landmarks()[:, :3], landmarks(2))


def test_a_disk_that_is_full_for_sqlite_is_one_line_of_the_folder(tmp_path):
    folder = PreparedFolder(tmp_path / "out")
    with pytest.raises(NerfgenError, match="out"), folder.locked(), folder.store() as store:
        files = store.files("a")
        files.image.touch()
        store._database.execute("PRAGMA max_page_count = 1")
        store.append("a", {"notes": [], "landmarks": np.zeros((5000, 3))})


def test_a_capture_whose_image_was_removed_does_not_count(store):
    store.files("a").image.unlink()
    assert list(store.read()) == ["b", "c"]


def test_landmarks_are_gathered_in_the_order_asked_for_and_stay_on_disk(store, tmp_path):
    captures = store.read()
    gathered = gather_landmarks([captures["b"], captures["a"]], tmp_path / "landmarks.f32")
    assert isinstance(gathered, np.memmap)
    np.testing.assert_array_equal(gathered[..., :3], [landmarks(1), landmarks(0)])
