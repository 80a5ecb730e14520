"""A plugin of ms-swift: the optimiser `muon_float32`, for small models on CPU cores.

    swift sft --external_plugins training/plugins/muon_float32.py --optimizer muon_float32 ...

Muon (https://kellerjordan.github.io/posts/muon/) for the matrices between embedding and head, AdamW for the rest, both
with the same learning rate. torch.optim.Muon multiplies in bfloat16, which takes seconds a step where the processor
emulates it; ms-swift's own `muon` downloads its code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from swift.optimizers import OptimizerCallback, optimizers_map

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
MOMENTUM = 0.95
UPDATE = 1.25  # root mean square of an update, in learning rates


class MuonFloat32(torch.optim.AdamW):
    """AdamW but for groups with `muon`, whose matrices take steps of equal size in all directions."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"] if group["muon"] else ():
                if weight.grad is not None:
                    self._turn(weight, group["lr"], group["weight_decay"])
                    weight.grad = None  # nothing is left for AdamW
        loss: float | None = super().step(closure)
        return loss

    def _turn(self, weight: torch.nn.Parameter, rate: float, decay: float) -> None:
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(weight)
            state["step"] = torch.zeros(())  # AdamW looks for it when it is loaded
        momentum = state["momentum"]
        momentum.lerp_(gradient, 1 - MOMENTUM)
        update = orthogonalised(gradient.lerp(momentum, MOMENTUM))
        weight.mul_(1 - rate * decay).add_(update, alpha=-rate * UPDATE * max(weight.shape) ** 0.5)


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """Return the nearest matrix whose singular values are all about 1, by Newton and Schulz."""
    tall = matrix.shape[0] > matrix.shape[1]
    found = (matrix.T if tall else matrix) / (matrix.norm() + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(ROUNDS):
        square = found @ found.T
        found = a * found + (b * square + c * square @ square) @ found
    turned: torch.Tensor = found.T if tall else found
    return turned


class MuonFloat32Callback(OptimizerCallback):  # type: ignore[misc] # ms-swift ships no types
    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        model = model or self.trainer.model
        shared = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
        groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
        for weight in model.parameters():
            if weight.requires_grad:
                groups[weight.ndim == 2 and id(weight) not in shared].append(weight)
        args = self.args
        return MuonFloat32(
            [{"params": weights, "muon": muon} for muon, weights in groups.items() if weights],
            lr=args.learning_rate,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
            weight_decay=args.weight_decay,
        )


optimizers_map["muon_float32"] = MuonFloat32Callback
