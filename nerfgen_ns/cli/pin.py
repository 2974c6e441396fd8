"""`nerfgen pin`: the identity that an export shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfgen_ns.errors import UsageError


@dataclass
class Pin:
    """Write a config.yml that shows one identity in commands that cannot choose one, such as exports.

    It is beside the run's own as `config_identity_K.yml` and uses the same checkpoints:
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

        from nerfgen_ns.runs.loading import read_checkpoint, read_config_nodes
        from nerfgen_ns.training.checkpoints import CODES_IN_CHECKPOINT
        from nerfgen_ns.utils.files import write_text

        config = read_config_nodes(self.load_config)
        identities = len(read_checkpoint(self.load_config)["pipeline"][CODES_IN_CHECKPOINT])
        if not 0 <= self.identity < identities:
            raise UsageError(
                f"--identity {self.identity}: the run has {identities} identities; "
                f"choose one from 0 to {identities - 1}"
            )
        # Changed as text: the rest of the file stays the same, and nothing that it names is called.
        node: yaml.Node = config
        for name in ("pipeline", "model", "identity"):
            node = next(value for key, value in node.value if key.value == name)
        node.tag, node.value = "tag:yaml.org,2002:int", str(self.identity)
        path = self.load_config.parent / f"config_identity_{self.identity}.yml"
        write_text(path, yaml.serialize(config))
        print(path)
