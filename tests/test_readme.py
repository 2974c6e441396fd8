"""README.md and docs/: their commands parse, their Python runs, and what they name exists."""

import dataclasses
import importlib
import re
import shlex
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tyro
from PIL import Image

import nerfgen_ns
from nerfgen_ns.class_model import ClassModel
from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.landmarks.files import read_landmark_file
from nerfgen_ns.preprocessing.listing import read_identity_file
from tests.helpers.parted_heads import parted_heads

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN = [page for page in PAGES if page.name != "results.md"]
"""The pages that people write; the other is what `benchmarks.results` makes."""
MOST_WORDS = 1200
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
OTHERS = {"git", "cd", "make", "pip", "pre-commit", "ln", "source", "tensorboard"}
"""Programs whose command lines are not checked."""
OPTIONS_OF_OTHERS = {"--check", "--nproc-per-node", "--node-rank"}


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str


class Call(NamedTuple):
    """A command line of a page, without its comments and without variables set before it."""

    page: Path
    words: tuple[str, ...]


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in FENCE.finditer(text):
        yield Block(page, text[: found.start()].count("\n") + 1, found[2], found[3])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def blocks_in(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def calls_of(block: Block) -> Iterator[Call]:
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        if words:
            yield Call(block.page, tuple(words))


CALLS = [call for block in blocks_in("bash") for call in calls_of(block)]


def named(value: Any) -> str:
    if isinstance(value, Call):
        return f"{value.page.name}: {' '.join(value.words)}"
    return f"{value.page.name}:{value.line}" if isinstance(value, Block) else value.name


def without_code(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def inline_code(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", without_code(page))


# What stands behind the name of each program.


def of_nerfgen() -> Any:
    from nerfgen_ns.cli.main import Command

    return Command


def of_ns_train() -> Any:
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

    return AnnotatedBaseConfigUnion


def of_ns_render() -> Any:
    from nerfstudio.scripts.render import Commands

    return Commands


def of_ns_export() -> Any:
    from nerfstudio.scripts.exporter import Commands

    return Commands


def of_ns_eval() -> Any:
    from nerfstudio.scripts.eval import ComputePSNR

    return ComputePSNR


def of_ns_viewer() -> Any:
    from nerfstudio.scripts.viewer.run_viewer import RunViewer

    return tyro.conf.FlagConversionOff[RunViewer]  # type: ignore[valid-type]


def of_module(name: str) -> Any:
    """The command of a module that is started by `python -m`: its class with a method `run`."""
    module = importlib.import_module(name)
    (command,) = [
        value
        for value in vars(module).values()
        if dataclasses.is_dataclass(value) and value.__module__ == name and hasattr(value, "run")
    ]
    return command


PROGRAMS: dict[str, Callable[[], Any]] = {
    "nerfgen": of_nerfgen,
    "ns-train": of_ns_train,
    "ns-render": of_ns_render,
    "ns-export": of_ns_export,
    "ns-eval": of_ns_eval,
    "ns-viewer": of_ns_viewer,
}
BENCHMARKS = [path.stem for path in (ROOT / "benchmarks").glob("*.py") if "tyro.cli(" in path.read_text()]


def parse(words: Sequence[str]) -> None:
    """Parse a command line, without running it.

    Raises:
        SystemExit: with status 2 where it is wrong, and 0 where it asks for help.
    """
    program, *arguments = words
    if program == "torchrun":
        program, arguments = "ns-train", arguments[arguments.index("-m") + 2 :]
    if program == "python":
        assert arguments[0] == "-m"
        if arguments[1] != "pytest":
            tyro.cli(of_module(arguments[1]), args=arguments[2:])
        return
    tyro.cli(PROGRAMS[program](), args=arguments)


@pytest.mark.parametrize("call", CALLS, ids=named)
def test_every_command_line_parses(call: Call) -> None:
    if call.words[0] in OTHERS:
        return
    try:
        parse(call.words)
    except SystemExit as ended:
        assert ended.code in (None, 0) and "--help" in call.words, f"status {ended.code}"


def test_the_pages_show_every_command() -> None:
    programs = {call.words[0] for call in CALLS}
    assert programs >= {*PROGRAMS, "torchrun", "python", "make"}
    from nerfgen_ns.cli.main import Command

    commands = {part.__metadata__[0].name for part in typing.get_args(Command)}
    assert {call.words[1] for call in CALLS if call.words[0] == "nerfgen"} >= commands - {"demo"}


@pytest.mark.parametrize(
    "line",
    [
        "nerfgen prepare --data PHOTOS",
        "nerfgen mesh --load-config a.yml --output-path a.ply --nonsense 1",
        "ns-train nerfgen-tiny --data PREPARED --pipeline.model.nonsense 1",
        "ns-render nonsense --load-config a.yml",
        "python -m benchmarks.scale --nonsense",
    ],
)
def test_a_wrong_command_line_would_be_noticed(line: str) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(line.split())
    assert ended.value.code == 2


@cache
def options_of_all_programs() -> set[str]:
    """Every option of every program, as `--name`, and every group of options."""
    from nerfgen_ns.configs import METHODS

    unions = [*typing.get_args(of_nerfgen()), *_parts(of_ns_render()), *_parts(of_ns_export())]
    wholes = [of_ns_eval(), of_ns_viewer(), *(of_module(f"benchmarks.{name}") for name in BENCHMARKS)]
    parsers = [tyro.extras.get_parser(part) for part in (*unions, *wholes)]
    parsers += [
        tyro.extras.get_parser(type(method.config), default=method.config) for method in METHODS.values()
    ]
    names = {name for parser in parsers for action in parser._actions for name in action.option_strings}
    return names | {name[:place] for name in names for place, sign in enumerate(name) if sign == "."}


def _parts(union: Any) -> list[Any]:
    """The subcommands of a union that is annotated as a whole."""
    return list(typing.get_args(typing.get_args(union)[0]))


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_every_option_that_a_sentence_names_exists(page: Path) -> None:
    named_there = {
        option for code in inline_code(page) for option in re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", code)
    }
    assert named_there - options_of_all_programs() <= OPTIONS_OF_OTHERS


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_every_option_of_the_model_that_a_sentence_abbreviates_exists(page: Path) -> None:
    abbreviated = {
        f"--pipeline.{code.split()[0]}"
        for code in inline_code(page)
        if re.fullmatch(r"model\.[a-z][\w.-]*( \S+)*", code)
    }
    assert abbreviated <= options_of_all_programs()


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_every_path_that_a_sentence_names_exists(page: Path) -> None:
    folders = ("nerfgen_ns/", "fields/", "datamanagers/", "tests/", "benchmarks/", "docs/")
    paths = [code for code in inline_code(page) if re.fullmatch(r"[\w./]+", code)]
    missing = [path for path in paths if path.startswith(folders) and not (ROOT / path).exists()]
    assert not missing


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", without_code(page), re.MULTILINE)
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


def links_of(page: Path) -> list[str]:
    # The text of a link may be broken over two lines.
    targets = re.findall(r"\]\(([^)\s]+)\)", without_code(page))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links_of(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_the_readme_links_to_every_page() -> None:
    linked = {link.partition("#")[0] for link in links_of(README)}
    assert linked >= {f"docs/{page.name}" for page in PAGES if page != README}


def test_the_readme_is_short() -> None:
    assert len(README.read_text().split()) <= MOST_WORDS


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_code_is_fenced_and_says_its_language(page: Path) -> None:
    assert all(block.language for block in blocks_of(page))
    assert "```" not in without_code(page)
    assert not re.search(r"\n\n    \S", without_code(page)), "an indented block"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> ClassModel:
    return parted_heads()


@pytest.mark.parametrize("block", blocks_in("python"), ids=named)
def test_every_python_block_runs(
    block: Block, shipped: ClassModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On the heads that ship, with labels, whatever run is named; up to a photograph that is not there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nerfgen_ns, "load", lambda load_config: shipped)
    code = compile(block.text, str(block.page), "exec")
    photograph = re.search(r"[\w-]+\.jpg", block.text)
    with pytest.raises(UsageError, match=photograph[0]) if photograph else nullcontext():
        exec(code, {"__name__": "block"})


def test_the_example_files_of_landmarks_and_identities_can_be_read(tmp_path: Path) -> None:
    photographs = [tmp_path / f"{number:04d}.jpg" for number in (1, 2, 17)]
    for photograph in photographs:
        Image.new("RGB", (256, 256)).save(photograph)
    landmarks, identities = (block for block in blocks_in("csv") if block.page.name == "landmarks.md")
    (as_json,) = (block for block in blocks_in("json") if block.page.name == "landmarks.md")
    for name, block in {"points.csv": landmarks, "points.json": as_json, "who.csv": identities}.items():
        (tmp_path / name).write_text(block.text)
    assert read_landmark_file(tmp_path / "points.csv", photographs).scheme.count == 5
    assert read_landmark_file(tmp_path / "points.json", photographs).scheme.count == 4
    assert read_identity_file(tmp_path / "who.csv", photographs).tolist() == [0, 1, 0]


@pytest.mark.parametrize("block", blocks_in("toml"), ids=named)
def test_every_toml_block_can_be_read(block: Block) -> None:
    assert tomllib.loads(block.text)
