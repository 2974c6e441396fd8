import json

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.landmarks.files import read_landmark_file
from nerfgen_ns.preprocessing.landmarks.models import FIVE_CENTER, FIVE_NAMES, FIVE_RADIUS
from nerfgen_ns.preprocessing.listing import read_identity_file
from nerfgen_ns.preprocessing.photographs import LONGEST_SIDE

POINTS = np.array(
    [[[30.0, 40], [60, 41], [45, 60], [35, 75], [55, 76]], [[31, 42], [62, 43], [47, 61], [36, 77], [57, 78]]]
)


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (80, 120)).save(folder / name)
    return sorted(folder.iterdir())


def rows(names=FIVE_NAMES, points=POINTS):
    return [
        f"{image},{name},{x},{y}"
        for image, own in zip("ab", points, strict=True)
        for name, (x, y) in zip(names, own, strict=True)
    ]


def csv_file(folder, lines, header="image,landmark,x,y"):
    lines = [line.replace("a,", "a.png,", 1) if line.startswith("a,") else line for line in lines]
    lines = [line.replace("b,", "b.png,", 1) if line.startswith("b,") else line for line in lines]
    path = folder / "landmarks.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def json_file(folder, **value):
    path = folder / "landmarks.json"
    images = {"a.png": POINTS[0].tolist(), "b.png": POINTS[1].tolist()}
    path.write_text(json.dumps({"images": images} | value))
    return path


def test_five_named_landmarks_get_pairs_and_the_place_of_a_face(tmp_path, photographs):
    found = read_landmark_file(csv_file(tmp_path, rows()), photographs)
    np.testing.assert_array_equal(found.landmarks[:2], POINTS)
    assert np.isnan(found.landmarks[2]).all() and found.confidence[2].max() == 0
    assert found.usable.tolist() == [True, True, False]
    np.testing.assert_array_equal(found.sizes, [[80, 120]] * 3)
    np.testing.assert_array_equal(found.scheme.mirror_partners, [1, 0, 2, 4, 3])
    assert found.scheme.names == FIVE_NAMES and not found.scheme.has_depth
    assert found.scheme.radius == FIVE_RADIUS
    np.testing.assert_array_equal(found.scheme.center, FIVE_CENTER)


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_count_from_0_or_1_in_any_order(tmp_path, photographs, first):
    lines = rows(names=range(first, first + 5))
    found = read_landmark_file(csv_file(tmp_path, lines[::-1]), photographs)
    np.testing.assert_array_equal(found.landmarks[:2], POINTS)
    assert found.scheme.names is None and found.scheme.mirror_partners is None


def test_missing_landmarks_and_confidence(tmp_path, photographs):
    lines = [f"{line},0.5" for line in rows()]
    lines[1] = "a,right_eye,,,"
    del lines[7]
    path = csv_file(tmp_path, lines, "Image, landmark ,x,y,confidence")
    found = read_landmark_file(path, photographs)
    assert np.isnan(found.landmarks[0, 1]).all() and np.isnan(found.landmarks[1, 2]).all()
    np.testing.assert_array_equal(found.confidence[0], [0.5, 0, 0.5, 0.5, 0.5])


def test_json_gives_the_same_as_csv_and_says_more(tmp_path, photographs):
    images = {"b.png": {"landmarks": POINTS[1].tolist(), "confidence": [1, 0.5, 0, 1, 1]}}
    images["a.png"] = [None, *POINTS[0, 1:].tolist()]
    path = json_file(tmp_path, images=images, pairs=[[0, 1], [3, 4]], center=[0, 0.1, 0.2], radius=0.3)
    found = read_landmark_file(path, photographs)
    np.testing.assert_array_equal(found.landmarks[0, 1:], POINTS[0, 1:])
    assert np.isnan(found.landmarks[0, 0]).all() and found.confidence[0].tolist() == [0, 1, 1, 1, 1]
    assert found.confidence[1].tolist() == [1, 0.5, 0, 1, 1]
    assert found.scheme.radius == 0.3 and found.scheme.center.tolist() == [0, 0.1, 0.2]
    np.testing.assert_array_equal(found.scheme.mirror_partners, [1, 0, 2, 4, 3])
    named = json_file(tmp_path, names=["a", "b", "c", "d", "e"], pairs=[["a", "b"]])
    assert read_landmark_file(named, photographs).scheme.mirror_partners.tolist() == [1, 0, 2, 3, 4]


def test_pixels_are_those_of_the_upright_photograph_as_it_is_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph = tmp_path / "big.jpg"
    Image.new("RGB", (2 * LONGEST_SIDE, 600)).save(photograph, exif=exif)
    lines = [f"big.jpg,{i},{x},{y}" for i, (x, y) in enumerate([(0, 0), (600, 0), (300, 4000), (600, 4096)])]
    found = read_landmark_file(csv_file(tmp_path, lines), [photograph])
    np.testing.assert_array_equal(found.landmarks[0], [[0, 0], [300, 0], [150, 2000], [300, 2048]])
    assert found.sizes.tolist() == [[300, LONGEST_SIDE]]


def test_the_orientation_of_a_tiff_counts_once_and_folders_are_part_of_the_names(tmp_path):
    for name in ("a.tif", "alice/a.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGBA", (200, 300)).save(tmp_path / name, tiffinfo={274: 6})
    photographs = [tmp_path / "a.tif", tmp_path / "alice" / "a.tif"]
    lines = [
        f"{name},{i},{x},{y}"
        for name in ("a.tif", "alice/a.tif")
        for i, (x, y) in enumerate([(0, 0), (300, 0), (0, 200), (300, len(name) * 10)])
    ]
    path = csv_file(tmp_path, lines)
    found = read_landmark_file(path, photographs, tmp_path)
    assert found.sizes.tolist() == [[300, 200]] * 2
    assert found.landmarks[:, 3, 1].tolist() == [50, 110]


def replaced(index, line):
    return [*rows()[:index], line, *rows()[index + 1 :]]


SWAPPED = [
    f"{image},{name},{y},{x}"
    for image, name, x, y in (line.split(",") for line in rows(points=POINTS + np.array([0, 30])))
]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (replaced(3, "a,mouth_left,nan,75"), r"row 5: 'a.png', mouth_left: \(nan, 75.0\)"),
        (replaced(3, "a,mouth_left,inf,75"), r"row 5: .*\(inf, 75.0\)"),
        (replaced(3, "a,mouth_left,35,abc"), r"row 5 \(a.png, landmark mouth_left\): .*'abc'"),
        (replaced(3, "a,mouth_left,35"), "row 5 .*3 .*4"),
        (replaced(3, ",mouth_left,35,75"), "row 5 .*image"),
        (replaced(3, "z.png,mouth_left,35,75"), "row 5: .*'z.png'"),
        (replaced(3, "a,nose,35,75"), "row 5: 'a.png', nose: .*row 4"),
        (replaced(3, "a,mouth_left,35,175"), r"row 5: .* \(35, 175\) .* 80×120"),
        (replaced(3, "a,mouth_left,-35,75"), r"row 5: .* \(-35, 75\) "),
        (rows(names=[0, 1, 2, 3, 7]), "landmark 4 "),
        (rows(names=[0, 1, 2, -1, 4]), "row 5: landmark '-1'"),
        (rows(points=POINTS[:, :3], names=range(3)), ": 3 landmarks"),
        (SWAPPED, r"row \d+: .* x and y "),
    ],
)
def test_a_wrong_csv_file_is_named_with_the_row(tmp_path, photographs, lines, named):
    path = csv_file(tmp_path, lines)
    with pytest.raises(UsageError, match=named) as error:
        read_landmark_file(path, photographs)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_objects_that_nearly_all_lie_on_their_side_are_refused_with_the_row(tmp_path, photographs):
    upright = [f"{name}.png,{line[2:]}" for name in "abc" for line in rows() if line.startswith("a,")]
    fields = [line.split(",") for line in upright]
    swapped = [f"{image},{name},{y},{x}" for image, name, x, y in fields]
    with pytest.raises(UsageError, match=r"row 2: 'a.png', left_eye: .* 2 .* 3 "):
        read_landmark_file(csv_file(tmp_path, swapped), photographs)
    mixed = csv_file(tmp_path, [*swapped[:10], *upright[10:]])
    assert read_landmark_file(mixed, photographs).usable.all()


@pytest.mark.parametrize("header", ["image,landmark,x", "a.png,0,1,2", "image,landmark,x,y,z", ""])
def test_a_wrong_header_is_named_with_what_it_has_to_be(tmp_path, photographs, header):
    with pytest.raises(UsageError, match=r"row 1 .*image,landmark,x,y\[,confidence\]"):
        read_landmark_file(csv_file(tmp_path, [], header), photographs)


A = POINTS[0].tolist()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"images": {"a.png": A, "b.png": A[:4]}}, "'b.png' .*4 .*'a.png' 5"),
        ({"names": ["x", "y"]}, "'a.png' .*5 .*\"names\" 2"),
        ({"images": {"a.png": [[1, float("nan")], *A[1:]]}}, r"'a.png', landmark 0: \(1.0, nan\)"),
        ({"images": {"a.png": [[1, 2, 3], *A[1:]]}}, r"'a.png', landmark 0: \[1, 2, 3\]"),
        ({"images": {"a.png": [["1", 2], *A[1:]]}}, r"'a.png', landmark 0: \['1', 2\]"),
        ({"images": {"a.png": {"points": A}}}, "'a.png': \"points\""),
        ({"images": {"a.png": {"landmarks": A, "confidence": [1]}}}, "'a.png' .*confidence .*5"),
        ({"images": {"a.png": {"landmarks": A, "confidence": [1, 1, 1, 1, -2]}}}, "confidence -2.0"),
        ({"images": {"z.png": A}}, "'z.png'"),
        ({"images": []}, '"images"'),
        ({"pairs": [[0, 9]]}, r"\[0, 9\]"),
        ({"pairs": [["eye", "nose"]]}, "\"pairs\" .*'eye'"),
        ({"radius": -1}, "radius"),
        ({"pairz": []}, '"pairz"'),
    ],
)
def test_a_wrong_json_file_is_named_with_the_image(tmp_path, photographs, value, named):
    path = json_file(tmp_path, **value)
    with pytest.raises(UsageError, match=named) as error:
        read_landmark_file(path, photographs)
    assert str(path) in str(error.value)


def test_an_image_listed_twice_in_json_is_an_error_and_not_a_choice(tmp_path, photographs):
    path = tmp_path / "landmarks.json"
    path.write_text(f'{{"images": {{"a.png": {A}, "a.png": {A}}}}}')
    with pytest.raises(UsageError, match=r"landmarks\.json: 'a\.png'"):
        read_landmark_file(path, photographs)


@pytest.mark.parametrize("name", ["landmarks.txt", "nothing.csv", "nothing.json"])
def test_files_that_cannot_be_read_are_named(tmp_path, photographs, name):
    with pytest.raises(UsageError, match=name):
        read_landmark_file(tmp_path / name, photographs)


def identity_csv(folder, *lines):
    path = folder / "identity.csv"
    path.write_text("\n".join(["image,identity", *lines]))
    return path


def test_photographs_of_one_identity_share_a_number_and_the_rest_are_alone(tmp_path, photographs):
    path = identity_csv(tmp_path, "c.png,Ann", '"a.png",Ann')
    assert read_identity_file(path, photographs).tolist() == [0, 1, 0]
    assert read_identity_file(identity_csv(tmp_path), photographs).tolist() == [0, 1, 2]
    # Names that look like the places of photographs are names.
    assert read_identity_file(identity_csv(tmp_path, "a.png,1", "c.png,0"), photographs).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["a.png,1", "a.png,1"], "row 3: 'a.png' .*row 2"),
        (["a.png,"], "row 2: 'a.png' .*identity"),
        (["z.png,1"], "row 2: .*'z.png'"),
        (["a.png"], "row 2 .*1 .*2"),
    ],
)
def test_a_wrong_identity_file_is_named_with_the_row(tmp_path, photographs, lines, named):
    with pytest.raises(UsageError, match=rf"identity\.csv: {named}"):
        read_identity_file(identity_csv(tmp_path, *lines), photographs)
