"""The command `nerfgen`."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from typing import Annotated

import tyro

from nerfgen_ns.cli.demo import Demo
from nerfgen_ns.cli.distill import Distill
from nerfgen_ns.cli.doctor import Doctor
from nerfgen_ns.cli.edit import Edit
from nerfgen_ns.cli.evaluate import Evaluate
from nerfgen_ns.cli.factory import Factory
from nerfgen_ns.cli.find import Find
from nerfgen_ns.cli.fit import Fit
from nerfgen_ns.cli.label import Label
from nerfgen_ns.cli.mesh import Mesh
from nerfgen_ns.cli.morph import Morph
from nerfgen_ns.cli.pack import Pack
from nerfgen_ns.cli.pin import Pin
from nerfgen_ns.cli.prepare import Prepare
from nerfgen_ns.cli.region import Region
from nerfgen_ns.cli.sample import Sample
from nerfgen_ns.cli.view import View
from nerfgen_ns.errors import NerfgenError, exit_with_one_line
from nerfgen_ns.utils.console import show_on_any_console

Command = (
    Annotated[Prepare, tyro.conf.subcommand("prepare")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Label, tyro.conf.subcommand("label")]
    | Annotated[Region, tyro.conf.subcommand("region")]
    | Annotated[Edit, tyro.conf.subcommand("edit")]
    | Annotated[Factory, tyro.conf.subcommand("factory")]
    | Annotated[Distill, tyro.conf.subcommand("distill")]
    | Annotated[Find, tyro.conf.subcommand("find")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Sample, tyro.conf.subcommand("sample")]
    | Annotated[Morph, tyro.conf.subcommand("morph")]
    | Annotated[Mesh, tyro.conf.subcommand("mesh")]
    | Annotated[View, tyro.conf.subcommand("view")]
    | Annotated[Pin, tyro.conf.subcommand("pin")]
    | Annotated[Pack, tyro.conf.subcommand("pack")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)
DESCRIPTION = """A class of objects in 3D from single photographs, inside nerfstudio.

Train with `ns-train nerfgen`, look with `ns-viewer`, render with `ns-render`, export with `ns-export`."""


def entrypoint() -> None:
    """Run the command line. Exit status: 0 done, 1 the work failed, 2 the call was wrong, 130 interrupted."""
    show_on_any_console()
    if sys.argv[1:] == ["--version"]:
        print(f"nerfgen {version('nerfgen-ns')}")
        return
    # Warnings about how nerfstudio uses torch: a user of this command cannot act on them.
    warnings.filterwarnings("ignore", module="nerfstudio")
    with exit_with_one_line():
        try:
            tyro.cli(Command, description=DESCRIPTION).run()  # type: ignore[call-overload]
        except KeyboardInterrupt:
            print("nerfgen: interrupted; the same command continues from here", file=sys.stderr)
            raise SystemExit(130) from None
        except PermissionError as error:
            raise NerfgenError(
                f"{error.filename}: {error.strerror}; allow it, or choose another place"
            ) from error
