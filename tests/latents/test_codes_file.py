"""Codes on disk: what is written is read again, and what cannot be used is named."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.fields.foreground import ForegroundField, ForegroundFieldConfig
from nerfgen_ns.latents.code_files import choose_codes, fingerprint_of_model, read_codes, write_codes

CODES = torch.linspace(-1.0, 1.0, 12).view(3, 4)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "codes.npz"
    write_codes(path, CODES, ["anna", "1.jpg", "Zoë"])
    return path


def test_codes_and_names_are_read_as_they_were_written(file: Path) -> None:
    codes, names = read_codes(file, 4)
    torch.testing.assert_close(codes, CODES, rtol=0.0, atol=0.0)
    assert names == ["anna", "1.jpg", "Zoë"]


def test_codes_without_names_are_called_by_their_rows(tmp_path: Path) -> None:
    write_codes(tmp_path / "codes.npz", CODES)
    np.savez(tmp_path / "bare.npz", codes=CODES.double().numpy())
    for name in ("codes.npz", "bare.npz"):
        codes, names = read_codes(tmp_path / name, 4)
        assert names == ["0", "1", "2"]
        assert codes.dtype == torch.float32


def test_nothing_in_the_file_is_unpickled(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Harmful:
        def __reduce__(self):
            return (Path.touch, (touched,))

    path = tmp_path / "codes.npz"
    np.savez(path, codes=np.array([[Harmful()]], dtype=object))
    with pytest.raises(UsageError, match=r"codes\.npz"):
        read_codes(path, 1)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"codes": np.zeros((2, 5), np.float32)}, r"\b5\b.*\b4\b"),
        ({"codes": np.zeros(4, np.float32)}, r"\(4,\)"),
        ({"codes": np.zeros((0, 4), np.float32)}, r"\(0, 4\)"),
        ({"codes": np.zeros((2, 4), np.int64)}, "int64"),
        ({"codes": np.full((2, 4), np.nan, np.float32)}, "codes"),
        ({"codes": np.full((2, 4), 1e300)}, "codes"),
        ({"codes": np.zeros((2, 4), np.float32), "names": np.array(["a"])}, "1 names"),
        ({"other": np.zeros((2, 4), np.float32)}, "codes"),
    ],
)
def test_codes_that_cannot_be_used_are_named_in_one_line(
    tmp_path: Path, arrays: dict[str, np.ndarray], named: str
) -> None:
    path = tmp_path / "codes.npz"
    np.savez(path, **arrays)
    with pytest.raises(UsageError, match=rf"codes\.npz: .*{named}") as error:
        read_codes(path, 4)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04cut off"])
def test_a_file_that_is_no_archive_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "codes.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"codes\.npz"):
        read_codes(path, 4)


def test_a_missing_file_and_a_single_array_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"codes\.npz"):
        read_codes(tmp_path / "codes.npz", 4)
    np.save(tmp_path / "codes.npy", CODES.numpy())
    with pytest.raises(UsageError, match=r"codes\.npy"):
        read_codes(tmp_path / "codes.npy", 4)


def test_another_suffix_and_an_unwritable_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"codes\.pt"):
        write_codes(tmp_path / "codes.pt", CODES)
    (tmp_path / "file").touch()
    with pytest.raises(NerfgenError, match=r"file/codes\.npz"):
        write_codes(tmp_path / "file" / "codes.npz", CODES)


def test_codes_are_chosen_by_file_name_or_row(file: Path) -> None:
    torch.testing.assert_close(choose_codes(str(file), 4), CODES)
    torch.testing.assert_close(choose_codes(f"{file}:Zoë", 4), CODES[2:])
    torch.testing.assert_close(choose_codes(f"{file}:1", 4), CODES[1:2])


@pytest.mark.parametrize("name", ["3", "-1", "nobody", ""])
def test_a_code_that_is_not_in_the_file_is_named(file: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}'.*anna, 1.jpg, Zoë"):
        choose_codes(f"{file}:{name}", 4)


def field(seed: int = 0, latent_dim: int = 4) -> ForegroundField:
    torch.manual_seed(seed)
    return ForegroundField(
        ForegroundFieldConfig(hidden_dim=8, num_layers=2, skip_connection=1, num_frequencies=2), latent_dim
    )


def test_a_model_s_fingerprint_stays_when_it_is_saved_and_changes_with_its_weights(tmp_path: Path) -> None:
    first, again = field(), field(seed=1)
    fingerprint = fingerprint_of_model(first)
    torch.save(first.state_dict(), tmp_path / "field.ckpt")
    assert fingerprint_of_model(again) != fingerprint
    again.load_state_dict(torch.load(tmp_path / "field.ckpt", weights_only=True))
    assert fingerprint_of_model(again) == fingerprint == fingerprint_of_model(again.double())
    assert fingerprint_of_model(field(latent_dim=5)) != fingerprint
    with torch.no_grad():
        next(again.parameters())[0] += 1.0
    assert fingerprint_of_model(again) != fingerprint


def test_codes_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    write_codes(path, CODES, model="one")
    assert len(read_codes(path, 4, "one")[0]) == 3
    with pytest.raises(UsageError, match=r"codes\.npz"):
        read_codes(path, 4, "two")
    with pytest.raises(UsageError, match=r"codes\.npz"):
        choose_codes(f"{path}:1", 4, "two")


def test_codes_that_do_not_say_their_model_are_taken_with_a_note(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(read_codes(file, 4, "one")[0]) == 3
    assert "does not say which model" in " ".join(capsys.readouterr().out.split())
