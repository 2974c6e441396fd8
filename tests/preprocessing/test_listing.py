"""Every file of a folder is a photograph, rejected, or left out by name, and nothing waits for ever."""

import os
import shutil
import sqlite3

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.listing import list_folder, list_photographs
from nerfgen_ns.preprocessing.photographs import RejectedError, check_kind, stamps_of
from nerfgen_ns.preprocessing.prepare import prepare
from nerfgen_ns.preprocessing.store import DATABASE
from nerfgen_ns.utils.files import read_json


def write_picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG")


def names(paths):
    return [path.name for path in paths]


@pytest.fixture
def folder(tmp_path):
    """A folder with one of everything that people have in one."""
    folder = tmp_path / "data"
    for name in (
        "a.jpg",
        "b ü.JPG",
        "c.jfif",
        "without suffix",
        "odd.photo",
        "below/d.jpg",
        "below/deeper/e.jpg",
    ):
        write_picture(folder / name)
    for name in ("._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt", "film.mov", "scan.pdf"):
        (folder / name).write_bytes(b"\0\5\x16\7" + bytes(100))
    for name in ("a.NEF", "alone.cr2", "phone.heic", "empty.jpg"):
        (folder / name).write_bytes(b"MM\0*" + bytes(200) if name != "empty.jpg" else b"")
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "loop a.jpg").symlink_to(folder / "loop b.jpg")
    (folder / "loop b.jpg").symlink_to(folder / "loop a.jpg")
    (folder / "linked.jpg").symlink_to(folder / "a.jpg")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe")
    return folder


def test_a_folder_is_told_completely(folder):
    listing = list_folder(folder)
    assert names(listing.photographs) == [
        "a.jpg", "alone.cr2", "b ü.JPG", "c.jfif", "empty.jpg", "gone.jpg", "linked.jpg", "loop a.jpg",
        "loop b.jpg", "odd.photo", "phone.heic", "pipe.jpg", "without suffix",
    ]  # fmt: skip
    left = {entry.path.name: entry for entry in listing.left_out}
    assert set(left) | set(names(listing.photographs)) == set(os.listdir(folder))
    assert "2 photographs" in left["below"].reason and "--recursive" in left["below"].mend
    assert "no photographs" in left["folder.jpg"].reason
    assert "hidden" in left["._a.jpg"].reason == left["Thumbs.db"].reason
    assert "beside" in left["a.NEF"].reason


def test_what_cannot_be_read_says_why_without_being_opened(folder):
    reasons = {}
    for path in list_photographs(folder):
        try:
            check_kind(path)
        except RejectedError as error:
            reasons[path.name] = error.reason
    assert set(reasons) == {"alone.cr2", "gone.jpg", "loop a.jpg", "loop b.jpg", "pipe.jpg"}
    assert all(reasons.values()) and "nowhere.jpg" in reasons["gone.jpg"]


def test_folders_below_are_taken_when_asked_and_links_among_them_end(folder):
    (folder / "below" / "up").symlink_to(folder)
    (folder / "elsewhere").symlink_to(folder / "below" / "deeper")
    listing = list_folder(folder, recursive=True)
    found = {path.relative_to(folder).as_posix() for path in listing.photographs}
    assert {"below/d.jpg", "below/deeper/e.jpg", "elsewhere/e.jpg", "a.jpg"} <= found
    assert "up" in names(entry.path for entry in listing.left_out)
    listing = list_folder(folder, recursive=True, mattes=folder / "below")
    assert "below" in names(entry.path for entry in listing.left_out)
    assert not {"d.jpg"} & set(names(listing.photographs))


def test_a_folder_of_folders_and_one_of_nothing_readable_are_refused_with_the_way_out(folder, tmp_path):
    write_picture(tmp_path / "people" / "alice" / "1.jpg")
    write_picture(tmp_path / "people" / "bob" / "1.jpg")
    with pytest.raises(UsageError, match=r"/people: .*alice/, bob/.*--recursive"):
        list_photographs(tmp_path / "people")
    assert len(list_photographs(tmp_path / "people", recursive=True)) == 2
    (tmp_path / "raw").mkdir()
    for name in ("1.nef", "2.nef"):
        shutil.copy(folder / "a.NEF", tmp_path / "raw" / name)
    with pytest.raises(UsageError, match=r"/1\.nef: .* 1 "):
        list_photographs(tmp_path / "raw")


def test_heic_alone_is_refused_where_nothing_reads_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "1.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(100))
    with pytest.raises(UsageError, match=r"/1\.heic: .*pillow-heif"):
        list_photographs(tmp_path)


def test_files_of_one_size_and_date_are_told_apart_by_their_content(tmp_path):
    paths = [tmp_path / name for name in ("a.bmp", "b.bmp", "c.bmp")]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 100)
        os.utime(path, (1, 1))
    before = stamps_of(paths)
    assert len(set(before)) == 3
    paths[0].rename(tmp_path / "swap")
    paths[1].rename(paths[0])
    (tmp_path / "swap").rename(paths[1])
    assert stamps_of(paths) == [before[1], before[0], before[2]]


def test_the_report_names_what_was_left_out_and_what_is_so_by_now(call, asked):
    config = call("out")
    (config.data / "notes.txt").write_text("who is who")
    (config.data / "Thumbs.db").write_bytes(b"")
    for number in range(2):
        (config.data / f"below/{number}.png").parent.mkdir(exist_ok=True)
        (config.data / f"below/{number}.png").write_bytes(b"photograph below %d" % number)
    report = prepare(config)
    assert {entry.source for entry in report.left_out} == {"notes.txt", "Thumbs.db", "below"}
    written = read_json(report.path)
    assert {entry["source"] for entry in written["left_out"]} == {"notes.txt", "Thumbs.db", "below"}
    page = report.page.read_text()
    assert "notes.txt" in page and "a folder with 2 photographs" in page
    captured = len(asked)
    (config.data / "notes.txt").rename(config.data / "more.txt")
    again = prepare(config)
    assert {entry.source for entry in again.left_out} == {"more.txt", "Thumbs.db", "below"}
    assert "more.txt" in report.page.read_text() and "notes.txt" not in report.page.read_text()
    assert len(asked) == captured and prepare(config).left_out == again.left_out


def test_photographs_of_folders_below_keep_apart_what_is_called_alike(call, asked, tmp_path):
    config = call("out", recursive=True)
    (config.data / "alice").mkdir()
    (config.data / "alice" / "0.png").write_bytes(b"another photograph")
    identity = tmp_path / "identity.csv"
    identity.write_text("image,identity\n0.png,alice\nalice/0.png,alice\n")
    config.identity = identity
    report = prepare(config)
    frames = read_json(config.output_dir / "transforms.json")["frames"]
    identities = {frame["source"]: frame["identity"] for frame in frames}
    assert "alice/0.png" in identities and identities["alice/0.png"] == identities["0.png"]
    assert not report.left_out and [entry.source for entry in report.rejected] == ["3.png", "1.png"]


def test_a_photograph_that_could_not_be_read_is_tried_again_when_it_can(call, asked, monkeypatch):
    from nerfgen_ns.preprocessing import photographs

    config = call("out")
    first = prepare(config)
    reasons = {"3.png": photographs.HEIF_REASON}
    monkeypatch.setattr(photographs, "_reads_heif", lambda: False)
    with sqlite3.connect(config.output_dir / ".prepare" / "kept" / DATABASE) as database:
        database.execute(
            "UPDATE captures SET record = replace(record, 'no face was found', ?)", [reasons["3.png"]]
        )
    path = config.output_dir / "report.json"
    path.write_text(path.read_text().replace("no face was found", reasons["3.png"]))
    asked.clear()
    assert prepare(config).rejected[0].reason == reasons["3.png"] and not asked
    monkeypatch.setattr(photographs, "_reads_heif", lambda: True)
    assert prepare(config).rejected == first.rejected and asked == ["3.png"]
