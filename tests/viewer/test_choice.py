"""From what the controls say to the latent code that is shown."""

from dataclasses import replace

import pytest
import torch

from nerfgen_ns.errors import UsageError
from nerfgen_ns.latents.latent_space import LatentSpace, interpolate
from nerfgen_ns.latents.latent_table import LatentTable
from nerfgen_ns.viewer.choice import Choice, CodesOfFile, NamedCode

DIMENSION = 6


@pytest.fixture
def table() -> LatentTable:
    return LatentTable(20, DIMENSION, init_std=1.0)


@pytest.fixture
def space(table) -> LatentSpace:
    return LatentSpace.of(table.codes.weight)


def not_needed() -> LatentSpace:
    raise AssertionError("the space of the table is not needed here")


def test_a_photograph_shows_its_row_of_the_table(table):
    assert torch.equal(Choice(identity=7).code(table, not_needed), table.row(7))


def test_the_mean_is_the_mean_of_the_table(table):
    assert torch.equal(Choice("mean").code(table, not_needed), table.mean())


def test_a_sample_is_the_one_that_its_seed_and_truncation_name(table, space):
    code = Choice("sample", seed=5, truncation=0.5).code(table, lambda: space)
    assert torch.equal(code, space.sample(1, truncation=0.5, seed=5))
    assert torch.allclose(
        Choice("sample", truncation=0.0).code(table, lambda: space), table.mean(), atol=1e-6
    )


def test_a_file_shows_the_code_of_the_chosen_row(table):
    codes = torch.rand(3, DIMENSION)
    choice = Choice("file", file=CodesOfFile(codes, ["a", "b", "c"]), file_row=2)
    assert torch.equal(choice.code(table, not_needed)[0], codes[2])


@pytest.mark.parametrize("kind", ["linear", "spherical"])
def test_a_morph_leads_from_a_to_b(table, kind):
    end = NamedCode("kept", torch.rand(DIMENSION))
    choice = Choice("morph", first=3, second=end, kind=kind)
    ends = table.row(3)[0].detach(), end.code
    for share in (0.0, 0.4, 1.0):
        expected = interpolate(*ends, share, kind, table.mean()[0].detach())
        assert torch.allclose(replace(choice, share=share).code(table, not_needed)[0], expected)
    assert torch.allclose(replace(choice, share=1.0).code(table, not_needed)[0], end.code, atol=1e-5)


def test_directions_move_a_code_by_standard_deviations(table, space):
    amounts = (1.5, 0.0, -2.0)
    code = Choice(identity=4, amounts=amounts).code(table, lambda: space)
    moved = space.amounts(code - table.row(4) + space.mean)[0].detach()
    assert torch.allclose(moved, torch.tensor([1.5, 0.0, -2.0, 0.0, 0.0, 0.0]), atol=1e-4)


def test_directions_that_the_table_does_not_have_move_nothing():
    table = LatentTable(2, DIMENSION, init_std=1.0)
    space = LatentSpace.of(table.codes.weight)
    one, eight = (Choice(amounts=(1.0, *[2.0] * more)).code(table, lambda: space) for more in (0, 7))
    assert torch.equal(one, eight)


@pytest.mark.parametrize(
    "choice",
    [
        Choice(identity=20),
        Choice(identity=-1),
        Choice("sample", truncation=-0.1),
        Choice("sample", truncation=float("nan")),
        Choice("file"),
        Choice("file", file=CodesOfFile(torch.rand(2, DIMENSION), ["a", "b"]), file_row=2),
        Choice("morph", share=1.01),
        Choice("morph", share=float("nan")),
        Choice("morph", second=20),
        Choice(amounts=(5.0,)),
        Choice(amounts=(float("nan"),)),
        Choice("photo"),  # type: ignore[arg-type]
    ],
    ids=lambda choice: choice.source,
)
def test_what_does_not_exist_is_refused(choice, table, space):
    with pytest.raises(UsageError):
        choice.code(table, lambda: space)


def test_an_identity_as_an_end_follows_the_training_and_any_other_stays(table, space):
    identity = Choice(identity=2).as_end(table, lambda: space)
    moved = Choice(identity=2, amounts=(1.0,)).as_end(table, lambda: space)
    choice = Choice("morph", first=identity, second=moved, share=0.0)
    kept = replace(choice, share=1.0).code(table, not_needed)
    with torch.no_grad():
        table.codes.weight += 1.0
    assert torch.equal(choice.code(table, not_needed), table.row(2))
    assert torch.equal(replace(choice, share=1.0).code(table, not_needed), kept)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "", "…", "x" * 500, ".hidden", "new\nline"])
def test_names_are_fit_for_files(name):
    choice = Choice("file", file=CodesOfFile(torch.rand(1, DIMENSION), [name]))
    for named in (choice, Choice("morph", first=NamedCode(name, torch.rand(DIMENSION)))):
        assert 0 < len(named.name()) <= 100
        assert "/" not in named.name() and not named.name().startswith(".") and named.name().isprintable()


def test_names_say_what_is_shown():
    assert Choice(identity=12).name() == "identity_12"
    assert Choice("sample", seed=3, truncation=0.7).name() == "sample_3_truncation_0.7"
    assert Choice("morph", first=1, second=2, share=0.25).name() == "identity_1_to_identity_2_0.25"
    assert Choice("mean", amounts=(0.0, 1.0)).name() == "mean_moved"
