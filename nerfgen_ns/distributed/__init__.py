"""Training with several processes, on one machine or many: `torchrun … -m nerfgen_ns.distributed`."""
