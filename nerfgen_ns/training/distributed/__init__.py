"""Training with several processes: `torchrun … -m nerfgen_ns.training.distributed`."""
