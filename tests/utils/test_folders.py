"""Folders written whole or not at all, and what tells files from others."""

from pathlib import Path

import pytest

from nerfgen_ns.datamanagers.data_parser import find_prepared
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.utils.files import (
    digest_of,
    hash_of,
    hash_of_value,
    replace_folder,
    writable_cache_folder,
    write_text,
)


def never(folder: Path) -> bool:
    return False


def test_a_folder_appears_with_its_contents_and_nothing_beside_it(tmp_path: Path) -> None:
    with replace_folder(tmp_path / "deep" / "new", never) as making:
        (making / "file").write_text("whole")
        assert not (tmp_path / "deep" / "new").exists()
    assert (tmp_path / "deep" / "new" / "file").read_text() == "whole"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["new"]


def test_an_empty_folder_and_an_own_one_are_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with replace_folder(folder, never) as making:
        (making / "first").touch()
    with replace_folder(folder, lambda old: (old / "first").exists()) as making:
        (making / "second").touch()
    assert [path.name for path in folder.iterdir()] == ["second"]


def test_an_interruption_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(KeyboardInterrupt), replace_folder(folder, lambda old: True) as making:
        (making / "half").touch()
        raise KeyboardInterrupt
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "mine.jpg").touch()
    (tmp_path / "file").touch()
    for name in ("photographs", "file"):
        with (
            pytest.raises(UsageError, match=f"/{name}: "),
            replace_folder(tmp_path / name, never),
        ):
            pytest.fail("the block was entered")
    assert (tmp_path / "photographs" / "mine.jpg").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(NerfgenError, match="/file/folder: ") as error,
        replace_folder(tmp_path / "file" / "folder", never),
    ):
        pytest.fail("the block was entered")
    assert error.value.exit_status == 1


def test_a_file_that_cannot_be_written_is_named_where_it_would_lie(tmp_path: Path) -> None:
    with (
        pytest.raises(NerfgenError, match=f"^{tmp_path / 'folder' / 'file'}: "),
        replace_folder(tmp_path / "folder", never) as making,
    ):
        (making / "file").mkdir()
        write_text(making / "file", "text")
    assert not list(tmp_path.iterdir())


def test_another_file_that_fails_in_the_block_is_named_and_not_the_folder(tmp_path: Path) -> None:
    with pytest.raises(NerfgenError, match="/absent: "), replace_folder(tmp_path / "a", never):
        (tmp_path / "absent").read_text()


def test_the_old_folder_is_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename = tmp_path / "folder", Path.rename
    folder.mkdir()
    (folder / "old").touch()

    def fail_for_the_new(path: Path, target: Path) -> Path:
        if path.name == "made":
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(NerfgenError, match="/folder: "), replace_folder(folder, lambda old: True):
        pass
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    "variables", [{"HOME": "/dev/null"}, {"XDG_CACHE_HOME": "/dev/null/cache"}, {"HOME": ""}]
)
def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photographs").mkdir()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if variables == {"HOME": ""}:
        monkeypatch.setattr(Path, "home", no_home)
    for ask in (writable_cache_folder, lambda: find_prepared(tmp_path / "photographs")):
        with pytest.raises(NerfgenError, match="XDG_CACHE_HOME") as error:
            ask()
        assert "\n" not in str(error.value) and "cache" in str(error.value)


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_the_cache_is_made_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "deep" / "cache"))
    assert writable_cache_folder() == tmp_path / "deep" / "cache" / "nerfgen"
    assert list(writable_cache_folder().iterdir()) == []


def test_a_digest_changes_with_size_and_beginning(tmp_path: Path) -> None:
    file = tmp_path / "file"
    digests = [digest_of(file)]
    for content in (b"", b"a", b"b", b"b" * 100_000, b"b" * 100_001):
        file.write_bytes(content)
        digests.append(digest_of(file))
    assert digests[0] == 0 and len(set(digests)) == 6


def test_a_hash_is_the_sha_256_of_all_parts_and_of_names_that_are_no_text() -> None:
    # The digests that FIPS 180-2 gives for "abc" and for nothing.
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_of(["a", b"bc"]) == hash_of([b"abc"]) == abc
    assert hash_of([]).startswith("e3b0c44298fc1c14")
    assert hash_of(["\udcff"]) == hash_of([b"\xff"])


def test_a_hash_of_a_value_does_not_depend_on_the_order_of_keys() -> None:
    assert hash_of_value({"a": 1, "b": [2]}) == hash_of_value({"b": [2], "a": 1})
    assert hash_of_value({"a": 1}) != hash_of_value({"a": 2})
