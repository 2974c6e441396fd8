"""`nerfgen pin`: the identity that an export shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfgen_ns.errors import UsageError


@dataclass
class Pin:
    """Write a config.yml that shows one identity wherever a command names none, as exports do not.

    It lies beside the run's own as `config_identity_K.yml` and uses the same checkpoints:
    `ns-export pointcloud --load-config RUN/config_identity_K.yml …` exports that identity.
    """

    load_config: Path
    """The config.yml of a trained run."""
    identity: int
    """The identity to show: its row of the latent table."""

    def run(self) -> None:
        """Write the file and print its path.

        Raises:
            UsageError: there is no such run or no such identity.
        """
        import yaml

        from nerfgen_ns.runs.run import count_identities, read_config
        from nerfgen_ns.utils.files import write_text

        config = read_config(self.load_config)
        identities = count_identities(config)
        if not 0 <= self.identity < identities:
            raise UsageError(
                f"--identity {self.identity}: the run has {identities} identities; "
                f"choose one from 0 to {identities - 1}"
            )
        config.pipeline.model.identity = self.identity  # type: ignore[attr-defined]
        # The new file is found where it is, as the run's own.
        config.run_dir = config.load_step = None
        config.pipeline.datamanager.dataparser.run_dir = None  # type: ignore[attr-defined]
        path = self.load_config.parent / f"config_identity_{self.identity}.yml"
        write_text(path, yaml.dump(config))
        print(path)
