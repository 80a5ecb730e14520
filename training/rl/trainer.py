"""ms-swift's trainer for fine-tuning, with rollouts of its own weights as its data and the policy gradient as its loss.

ms-swift's GRPO trainer samples single texts from a prompt; here a rollout is a run of a program, of many calls. So
nothing is taken from it. What stays is ms-swift's: loading, tuners, optimiser, DeepSpeed, checkpoints, logs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from swift.trainers import Seq2SeqTrainer
from transformers.integrations.deepspeed import deepspeed_config, set_hf_deepspeed_config, unset_hf_deepspeed_config

from sprint_sgl.storage.checkpoints import MODEL_NOTES, last_checkpoint, model_notes, weights_folder
from training.rl.loss import policy_loss, score_tokens
from training.rl.rounds import Rounds, Update
from training.rl.settings import RlSettings
from training.rl.tree import RolloutTree


class RolloutTrainer(Seq2SeqTrainer):  # type: ignore[misc] # ms-swift ships no types
    """A learner whose batches are the updates of its rounds (training/rl/rounds.py)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = RlSettings.read()
        self.rank, self.processes = self.args.process_index, self.args.world_size

    def get_train_dataloader(self, skip_batches: int = 0) -> UpdateLoader:
        return UpdateLoader(Rounds(self.settings, self))

    def train(self, *args: Any, **kwargs: Any) -> Any:
        result = super().train(*args, **kwargs)
        checkpoint = last_checkpoint(Path(self.args.output_dir))
        if not (checkpoint and checkpoint.name.endswith(f"-{self.state.global_step}")):
            self._save_checkpoint(self.model, trial=None)
        Rounds(self.settings, self).finish()
        return result

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Accumulate the gradients of one update, tree by tree; return its loss."""
        model.train()
        update: Update = inputs["update"]
        state, device, rounds = self.accelerator.gradient_state, self.accelerator.device, self.settings.rounds
        total, sums = torch.zeros((), device=device), torch.zeros(4, device=device)
        for number, tree in enumerate(update.trees, 1):
            state._set_sync_gradients(number == len(update.trees))
            with self.compute_loss_context_manager():
                now = score_tokens(model, tree, device, rounds.temperature)
                found = policy_loss(tree, now, rounds.clip, self._reference_scores(tree), rounds.kl)
            loss = found.loss / update.tokens
            self.accelerator.backward(loss * self.processes)  # processes average their gradients
            total += loss.detach()
            sums += torch.tensor([found.clipped, found.kl, found.drift, found.entropy], device=device)
        figures = self.accelerator.reduce(torch.cat([total[None], sums / update.tokens]), reduction="sum")
        for name, value in zip(("clipped", "kl", "drift", "entropy"), figures[1:].tolist(), strict=True):
            self.custom_metrics["train"][f"policy/{name}"].update(value)
        self.control.should_save |= update.saves  # on_step_begin has cleared it
        mean: torch.Tensor = figures[0]
        return mean

    @torch.no_grad()
    def _reference_scores(self, tree: RolloutTree) -> torch.Tensor | None:
        """Return the log-probabilities of the tree's tokens under the first policy; None without a KL term."""
        if not self.settings.rounds.kl:
            return None
        device = self.accelerator.device
        return score_tokens(self.reference, tree, device, self.settings.rounds.temperature).logprobs

    @cached_property
    def reference(self) -> torch.nn.Module:
        """The policy that the training began with, whole on each process."""
        trained = self.accelerator.unwrap_model(self.model)
        sharding = deepspeed_config()
        unset_hf_deepspeed_config()  # under ZeRO-3 it would load a part of each weight
        loaded = type(trained).from_pretrained(
            self.settings.model, dtype=trained.dtype, attn_implementation=trained.config._attn_implementation
        )
        if sharding is not None:
            set_hf_deepspeed_config(self.args.hf_deepspeed_config)
        first: torch.nn.Module = loaded.to(self.accelerator.device).eval().requires_grad_(False)
        return first

    def steps_done(self) -> int:
        return int(self.state.global_step)

    def gather(self, value: Any) -> list[Any]:
        if self.processes == 1:
            return [value]
        found: list[Any] = [None] * self.processes
        dist.all_gather_object(found, value)
        return found

    def report(self, figures: dict[str, float]) -> None:
        self.log(figures)  # ms-swift's gathers the names of its own figures from all processes

    def write_weights(self, folder: Path) -> None:
        """Write the weights beside the files of the model that the training began with, the tokenizer byte for byte."""
        weights = self.accelerator.get_state_dict(self.model_wrapped)  # all processes: ZeRO-3 keeps a part in each
        if self.rank:
            return
        begun = weights_folder(self.settings.model)
        folder.mkdir(parents=True, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model)
        model.save_pretrained(folder, state_dict=weights, safe_serialization=True)
        for path in (*begun.glob("token*"), *begun.glob("vocab*"), *begun.glob("*.jinja")):
            shutil.copyfile(path, folder / path.name)
        (folder / MODEL_NOTES).write_text(json.dumps(model_notes(str(begun)), indent=2))


class UpdateLoader:
    """The updates as batches. The Trainer fetches one right before its optimiser step, so none is made ahead."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds = rounds

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for update in self.rounds:
            yield {"update": update}
