"""Simulate one training step on tensors without storage (torch's FakeTensorMode), to learn its memory and work.

There is no formula for activations: the architecture's own code runs forward and backward, and each tensor counts from
its creation until it is freed. If all layers are alike, the step runs with two and with three of them, and the
difference stands for each further layer. A 7B model takes seconds on a laptop and no memory.
training/estimate/step_costs.py caches the results.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM
from transformers.masking_utils import AttentionMaskInterface

from sprint_sgl.console import say, wait_notice
from sprint_sgl.errors import BadInput
from training.estimate.step_costs import Sizes

ATTENTION = "unmasked_sdpa"
TUNERS = ("full", "lora")
HALF = ("bfloat16", "float16")
LAYERS_RUN = 2  # layers of the first run if all are alike; the second run has one more


def _unmasked_attention(
    module: torch.nn.Module, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: None, scaling: float, **_: Any
) -> tuple[torch.Tensor, None]:
    """Attend causally without a mask, as transformers' sdpa does for rows of equal length.

    On fake tensors transformers would build a mask that a training does not need.
    """
    found = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True, scale=scaling)
    return found.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _unmasked_attention)
AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)


def _attention_flops(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))  # type: ignore[no-untyped-call]


def _attention_backward_flops(gradient: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, q, k, v))  # type: ignore[no-untyped-call]


# torch counts the work of attention on GPUs only, and fake tensors are on the CPU.
ATTENTION_FLOPS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}


class LiveMemory(TorchDispatchMode):
    """Count the bytes of tensors created by operations under this mode: alive now, and at their peak.

    `known` tensors, such as weights, and views of them are not counted.
    """

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._sizes or key in self._known:
            return
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


class Simulation:
    """The model of a folder or hub id under ms-swift's arguments. Raise BadInput if it has no config."""

    def __init__(self, model: str, args: Mapping[str, Any]) -> None:
        self._args = args
        half = args.get("torch_dtype") in HALF or (args.get("deepspeed") and args.get("bf16"))
        self._dtype = torch.bfloat16 if half else torch.float32
        self._fake = FakeTensorMode()
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it says each of its retries
        try:
            with wait_notice(f"reading the config of {model}"):
                config = AutoConfig.from_pretrained(model)
        except (OSError, ValueError) as error:
            raise BadInput(
                f"model {model!r} is not a folder with a config.json, and the hub gives none: "
                f"{str(error).strip().partition(chr(10))[0]} Without a network give model=FOLDER with a config.json."
            ) from error
        say("simulating a training step of this model, once: about ten seconds")
        try:
            with torch.device("meta"):
                loaded = self._load(config)
        except ValueError as error:  # such as an encoder's; the message lists all known models
            raise BadInput(f"model {model!r} ({config.model_type}) is not a causal language model") from error
        with torch.device("meta"):
            self._model = self._trainable(loaded)
        with self._fake:
            _move_to_fake_cpu(self._model)

    def _load(self, config: Any) -> Any:
        return AutoModelForCausalLM.from_config(config, dtype=self._dtype, attn_implementation=ATTENTION)

    def _trainable(self, model: Any) -> Any:
        tuner = self._args.get("tuner_type", "lora")
        if tuner not in TUNERS:
            raise BadInput(f"tuner_type must be {' or '.join(TUNERS)} for an estimate, got {tuner}")
        if tuner == "lora":
            from peft import LoraConfig, get_peft_model

            config = LoraConfig(
                r=int(self._args.get("lora_rank", 8)), target_modules=self._args.get("target_modules", "all-linear")
            )
            model = get_peft_model(model, config)
            if self._args.get("deepspeed"):  # DeepSpeed casts adapters; without it they are in full precision
                model = model.to(self._dtype)
        if self._args.get("gradient_checkpointing", True):
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        return model

    @property
    def context(self) -> int:
        """The model's context in tokens."""
        return int(self._model.config.max_position_embeddings)

    @property
    def sizes(self) -> Sizes:
        head = self._model.get_output_embeddings()
        linear = [m.weight for m in self._model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
        parameters = list(self._model.parameters())
        trained = [p for p in parameters if p.requires_grad]
        return Sizes(
            sum(p.numel() for p in parameters),
            sum(p.numel() for p in trained),
            sum(weight.numel() for weight in linear if not weight.requires_grad),
            sum(p.nbytes for p in parameters),
            sum(p.nbytes for p in trained),
        )

    def activations(self, rows: int, length: int) -> int:
        """Return the peak bytes of a step above weights and gradients, with `rows` rows of `length` tokens."""

        def peak() -> int:
            with self._fake, _dropping_gradients(self._model), LiveMemory(self._model.parameters()) as memory:
                self._step(rows, length, fused=bool(self._args.get("use_liger_kernel")))
            return int(memory.peak)

        return self._extrapolate_layers(peak)

    def flops(self, length: int) -> int:
        """Return the floating-point operations of a row: forward, backward, and recomputation by checkpointing."""

        def work() -> int:
            with self._fake, FlopCounterMode(display=False, custom_mapping=ATTENTION_FLOPS) as counter:
                self._step(1, length, fused=False)
            self._model.zero_grad()
            return int(counter.get_total_flops())

        return self._extrapolate_layers(work)

    def _extrapolate_layers(self, ask: Callable[[], int]) -> int:
        """Return `ask()` for the whole model; if its layers are alike, extrapolated from runs with few layers."""
        decoder = self._model.get_decoder()
        layers = getattr(decoder, "layers", None)  # None under another name, as in GPT-2: all layers run
        if layers is None or len(layers) <= LAYERS_RUN + 1 or not layers_alike(layers, self._model.config):
            return ask()
        try:
            decoder.layers = layers[:LAYERS_RUN]
            few = ask()
            decoder.layers = layers[: LAYERS_RUN + 1]
            return few + (len(layers) - LAYERS_RUN) * (ask() - few)
        finally:
            decoder.layers = layers

    def _step(self, rows: int, length: int, fused: bool) -> None:
        ids = torch.zeros(rows, length, dtype=torch.long)
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(self._args.get("bf16"))):
            self._loss(ids, fused).backward()

    def _loss(self, ids: torch.Tensor, fused: bool) -> Any:
        # Logits of every position: all of a transcript but its question is trained. For rows with more context
        # ms-swift computes fewer (use_logits_to_keep), so this is an upper bound.
        if not fused:
            return self._model(input_ids=ids, labels=ids, use_cache=False).loss
        # Liger's fused loss computes logits in chunks of about as many numbers as the hidden states have.
        hidden = self._model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
        head = self._model.get_output_embeddings()
        chunk = -(-len(hidden) // -(-head.out_features // head.in_features))
        return cross_entropy(head(hidden[:chunk]).float(), ids.flatten()[:chunk])


def layers_alike(layers: torch.nn.ModuleList, config: Any) -> bool:
    """Return whether a decoder's layers have the same modules, sizes and kind of attention."""
    kinds = getattr(config, "layer_types", None) or []
    return len(set(kinds)) <= 1 and len({repr(layer) for layer in layers}) == 1


def _move_to_fake_cpu(model: torch.nn.Module) -> None:
    """Replace meta tensors by fake CPU tensors; shared tensors stay shared.

    Autocast does not know the meta device, and peft cannot be applied to fake tensors.
    """
    moved: dict[int, torch.nn.Parameter] = {}

    def empty(tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype)

    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                fake = torch.nn.Parameter(empty(weight), weight.requires_grad)
                module._parameters[name] = moved.setdefault(id(weight), fake)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = empty(buffer)


@contextmanager
def _dropping_gradients(model: torch.nn.Module) -> Iterator[None]:
    """Drop each gradient as soon as it exists: gradients are counted separately, whole or in shards."""

    def let_go(parameter: torch.Tensor) -> None:
        parameter.grad = None

    trained = [p for p in model.parameters() if p.requires_grad]
    hooks = [p.register_post_accumulate_grad_hook(let_go) for p in trained]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
