"""Options of `ns-train nerfgen-tiny`, drawn at random: a training or one line, and never a traceback."""

import dataclasses
import random
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from nerfstudio.configs.base_config import InstantiateConfig

from nerfgen_ns.configs import nerfgen_tiny
from nerfgen_ns.training import preview
from tests.helpers.short_trainings import set_up, short_config

Place = tuple[Any, ...]
"""Names of fields and keys of dictionaries, from the configuration down to a value."""

STEPS = 6
ELSEWHERE = {
    "_target", "output_dir", "data", "load_dir", "load_config", "load_checkpoint", "load_step", "vis",
    "relative_model_dir", "pixel_folder", "websocket_port", "websocket_port_default", "websocket_host",
    "num_devices", "num_machines", "machine_rank", "dist_url", "device_type", "timestamp", "method_name",
    "project_name", "experiment_name", "max_num_iterations", "prompt", "make_share_url",
    "quit_on_train_completion", "start_paused", "dataparser_subcommand",
}  # fmt: skip
"""Fields that say where and how long, which these tests decide themselves, or that other tests are about."""


def places(value: Any, above: Place = ()) -> Iterator[tuple[Place, Any, Any]]:
    """All options: where each is, its default, its type."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*above, key))
    elif dataclasses.is_dataclass(value):
        hints = typing.get_type_hints(type(value), include_extras=True)
        for field in dataclasses.fields(value):
            hint, part = hints[field.name], getattr(value, field.name)
            if field.name in ELSEWHERE or "SUPPRESS" in str(hint).upper():
                continue
            if isinstance(part, dict | InstantiateConfig) or dataclasses.is_dataclass(part):
                yield from places(part, (*above, field.name))
            else:
                yield (*above, field.name), part, hint


OPTIONS = sorted(places(nerfgen_tiny.config), key=lambda option: str(option[0]))


def other_value(default: Any, hint: Any, chance: random.Random) -> Any:
    """Another value that makes sense, or None."""
    kinds = [kind for kind in (hint, *typing.get_args(hint)) if kind is not type(None)]
    choices = [typing.get_args(kind) for kind in kinds if typing.get_origin(kind) is typing.Literal]
    if choices:
        return chance.choice([choice for choice in choices[0] if choice != "volumetric"])
    if isinstance(default, bool) or bool in kinds:
        return not default
    if isinstance(default, int) or (default is None and int in kinds):
        return chance.choice([1, 2, max(1, (default or 4) // 2), (default or 4) + 1])
    if isinstance(default, float) or (default is None and float in kinds):
        return chance.choice([0.5, 2.0]) * (default or 0.1)
    return None


def set_at(config: Any, place: Place, value: Any) -> None:
    for name in place[:-1]:
        config = config[name] if isinstance(config, dict) else getattr(config, name)
    setattr(config, place[-1], value)


def named(place: Place) -> str:
    return ".".join(map(str, place))


def pairs(count: int) -> Iterator[Any]:
    chance = random.Random(7)
    drawn = 0
    while drawn < count:
        chosen = {place: other_value(value, hint, chance) for place, value, hint in chance.sample(OPTIONS, 2)}
        if None not in chosen.values():
            drawn += 1
            yield pytest.param(chosen, id=" ".join(f"{named(place)}={v}" for place, v in chosen.items()))


def edges(count: int) -> Iterator[Any]:
    """Numbers that make little sense, one at a time."""
    numbers = [
        (place, edge)
        for place, value, _ in OPTIONS
        if isinstance(value, int | float) and not isinstance(value, bool)
        for edge in (0, -1)
    ]
    for place, edge in random.Random(7).sample(numbers, count):
        yield pytest.param({place: edge}, id=f"{named(place)}={edge}")


def test_most_options_are_among_those_that_are_drawn():
    names = {named(place) for place, _, _ in OPTIONS}
    assert len(names) > 80
    assert {
        "pipeline.model.foreground.hidden_dim",
        "steps_per_eval_image",
        "optimizers.fields.optimizer.lr",
    } <= names


@pytest.mark.parametrize("chosen", [*pairs(6), *edges(9)])
def test_options_train_or_end_in_one_line(chosen, make_prepared, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(preview, "SIZE", 16)
    config: Any = short_config(make_prepared([(24, 24)] * 3), tmp_path / "out", STEPS, small=True)
    config.steps_per_eval_image, config.steps_per_eval_batch = 4, 3
    for place, value in chosen.items():
        set_at(config, place, value)
    try:
        config.save_config()
        set_up(config).train()
    except SystemExit as exit_:
        assert exit_.code == 2
        assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("nerfgen: --")]
