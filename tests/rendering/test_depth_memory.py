"""The depth of the last visit narrows where samples of a training ray are drawn."""

import torch
from nerfstudio.cameras.rays import RayBundle

from nerfgen_ns.rendering.depth_memory import CELLS, ELSEWHERE, DepthMemory

EDGES = torch.linspace(1.0, 4.0, 61).repeat(3, 1)
OCCUPIED = (EDGES[:, 1:] > 1.5).float()


def rays(photographs=(0, 1, 1), pixels=((0.1, 0.1), (0.1, 0.1), (0.9, 0.5)), **metadata) -> RayBundle:
    metadata = {
        "photograph": torch.tensor(photographs)[:, None],
        "pixel": torch.tensor(pixels),
        **metadata,
    }
    kept = {name: value for name, value in metadata.items() if value is not None}
    zeros = torch.zeros(3, 3)
    return RayBundle(origins=zeros, directions=zeros, pixel_area=zeros[:, :1], metadata=kept)


def test_samples_are_drawn_around_the_depth_that_was_found_there() -> None:
    memory = DepthMemory(2)
    assert torch.equal(memory.narrow(rays(), EDGES, OCCUPIED), OCCUPIED), "nothing is known yet"
    memory.keep(rays(), torch.tensor([[2.0], [3.0], [3.5]]), torch.tensor([[1.0], [0.9], [0.1]]))
    narrowed = memory.narrow(rays(), EDGES, OCCUPIED)
    middles = 0.5 * (EDGES[:, 1:] + EDGES[:, :-1])
    for ray, depth in ((0, 2.0), (1, 3.0)):
        assert (middles[ray, narrowed[ray].argmax()] - depth).abs() < 0.05
        far = (middles[ray] - depth).abs() > 0.5
        torch.testing.assert_close(narrowed[ray, far], ELSEWHERE * OCCUPIED[ray, far], atol=1e-3, rtol=0.0)
    assert torch.equal(narrowed[2], OCCUPIED[2]), "its last ray met no surface"


def test_a_depth_serves_the_cell_around_its_pixel_alone() -> None:
    memory = DepthMemory(2)
    memory.narrow(rays(), EDGES, OCCUPIED)
    memory.keep(rays(), torch.full((3, 1), 2.0), torch.ones(3, 1))
    near, far = 0.1 + 0.3 / CELLS, 0.1 + 1.5 / CELLS
    beside = rays((0, 0, 1), ((near, 0.1), (far, 0.1), (0.1, near)))
    changed = (memory.narrow(beside, EDGES, OCCUPIED) != OCCUPIED).any(dim=1)
    assert changed.tolist() == [True, False, True]


def test_rays_of_no_photograph_are_left_alone_and_nothing_is_kept_in_a_checkpoint() -> None:
    memory = DepthMemory(2)
    for missing in ("photograph", "pixel"):
        alone = rays(**{missing: None})
        assert torch.equal(memory.narrow(alone, EDGES, OCCUPIED), OCCUPIED)
        memory.keep(alone, torch.ones(3, 1), torch.ones(3, 1))
    assert memory.depths.numel() == 0
    assert not memory.state_dict()
