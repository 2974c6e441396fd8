"""`nerfgen view`: a run in nerfstudio's viewer."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass
class View:
    """Open a run in nerfstudio's viewer; by default only browsers of this machine can connect.

    Unlike `ns-viewer`, which listens to the whole network, it also takes a file of `nerfgen pack`. Open the
    config.yml of a stranger only that way: nerfstudio's viewer executes what a config.yml names.
    """

    load_config: Path
    """The config.yml of a run, or a file of `nerfgen pack`."""
    websocket_host: str = "127.0.0.1"
    """The address to listen at; 0.0.0.0 lets other machines in."""
    websocket_port: int | None = None
    """The port to listen at; if not set, the first free one from 7007."""

    def run(self) -> None:
        """Serve the viewer until interrupted.

        Raises:
            UsageError: there is no such run.
        """
        from nerfstudio.scripts.viewer.run_viewer import RunViewer, ViewerConfigWithoutNumRays

        from nerfgen_ns.runs.code_runs import unpack
        from nerfgen_ns.runs.loading import read_config
        from nerfgen_ns.runs.pack import SUFFIX

        with tempfile.TemporaryDirectory(prefix="nerfgen-view-") as temporary:
            load_config = self.load_config
            if load_config.suffix == SUFFIX:
                load_config = unpack(load_config, Path(temporary) / load_config.stem)
            read_config(load_config)
            viewer = ViewerConfigWithoutNumRays(
                websocket_host=self.websocket_host, websocket_port=self.websocket_port
            )
            RunViewer(load_config=load_config, viewer=viewer).main()
