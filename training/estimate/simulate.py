"""One training step on tensors without storage (torch's FakeTensorMode): the memory and the work of the model itself.

No formula for activations: the architecture's own code runs forward and backward, and each tensor counts
from its making until it is freed. Of layers that are alike two and then three run, since each further one adds the
same. A 7B model takes seconds on a laptop and no memory. training/estimate/step_costs.py keeps the answers.
"""

from __future__ import annotations

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

from sprint_sgl.errors import BadInput
from training.estimate.step_costs import Sizes

ATTENTION = "unmasked_sdpa"
TUNERS = ("full", "lora")
HALF = ("bfloat16", "float16")
FEW = 2  # layers that run where all are alike, and then one more


def _attend(
    module: torch.nn.Module, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: None, scaling: float, **_: Any
) -> tuple[torch.Tensor, None]:
    """What transformers' sdpa does with rows of one length; on fake tensors it would build a mask that training has
    no need of."""
    found = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True, scale=scaling)
    return found.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)


def _attention_flops(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))  # type: ignore[no-untyped-call]


def _attention_backward_flops(gradient: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, q, k, v))  # type: ignore[no-untyped-call]


# torch counts the work of attention on GPUs only; fake tensors are the CPU's.
ATTENTION_FLOPS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}


class LiveMemory(TorchDispatchMode):
    """Bytes of the tensors that operations make under it: how many live now, and at most at once.

    `known` tensors, such as weights, are not counted, nor are views of them.
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
    """The model of a folder or hub id under ms-swift's arguments. Raises BadInput where there is no config."""

    def __init__(self, model: str, args: Mapping[str, Any]) -> None:
        self._args = args
        half = args.get("torch_dtype") in HALF or (args.get("deepspeed") and args.get("bf16"))
        self._dtype = torch.bfloat16 if half else torch.float32
        self._fake = FakeTensorMode()
        try:
            config = AutoConfig.from_pretrained(model)
        except (OSError, ValueError) as error:
            raise BadInput(f"model {model!r} is no folder with a config.json, and not on the hub: {error}") from error
        try:
            with torch.device("meta"):
                loaded = self._load(config)
        except ValueError as error:  # such as an encoder's, with a line for each model that there is
            raise BadInput(f"model {model!r} ({config.model_type}) is no model that writes text") from error
        with torch.device("meta"):
            self._model = self._trainable(loaded)
        with self._fake:
            _on_cpu(self._model)

    def _load(self, config: Any) -> Any:
        return AutoModelForCausalLM.from_config(config, dtype=self._dtype, attn_implementation=ATTENTION)

    def _trainable(self, model: Any) -> Any:
        tuner = self._args.get("tuner_type", "lora")
        if tuner not in TUNERS:
            raise BadInput(f"tuner_type={tuner}: estimates are made for {' and '.join(TUNERS)}")
        if tuner == "lora":
            from peft import LoraConfig, get_peft_model

            config = LoraConfig(
                r=int(self._args.get("lora_rank", 8)), target_modules=self._args.get("target_modules", "all-linear")
            )
            model = get_peft_model(model, config)
            if self._args.get("deepspeed"):  # which casts adapters, in full precision without it
                model = model.to(self._dtype)
        if self._args.get("gradient_checkpointing", True):
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        return model

    @property
    def context(self) -> int:
        """Tokens that the model takes."""
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
        """Bytes that a step of so many rows of that length has alive at most, above weights and gradients."""

        def peak() -> int:
            with self._fake, _no_gradients_kept(self._model), LiveMemory(self._model.parameters()) as memory:
                self._step(rows, length, fused=bool(self._args.get("use_liger_kernel")))
            return int(memory.peak)

        return self._of_all_layers(peak)

    def flops(self, length: int) -> int:
        """Floating-point operations of a row: forward, backward, and what checkpointing does twice."""

        def work() -> int:
            with self._fake, FlopCounterMode(display=False, custom_mapping=ATTENTION_FLOPS) as counter:
                self._step(1, length, fused=False)
            self._model.zero_grad()
            return int(counter.get_total_flops())

        return self._of_all_layers(work)

    def _of_all_layers(self, ask: Callable[[], int]) -> int:
        """What `ask` finds for the whole model; where its layers are alike, from what it finds for few of them."""
        decoder = self._model.get_decoder()
        layers = getattr(decoder, "layers", None)  # by another name, as GPT-2's, all of them run
        if layers is None or len(layers) <= FEW + 1 or not alike(layers, self._model.config):
            return ask()
        try:
            decoder.layers = layers[:FEW]
            few = ask()
            decoder.layers = layers[: FEW + 1]
            return few + (len(layers) - FEW) * (ask() - few)
        finally:
            decoder.layers = layers

    def _step(self, rows: int, length: int, fused: bool) -> None:
        ids = torch.zeros(rows, length, dtype=torch.long)
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(self._args.get("bf16"))):
            self._loss(ids, fused).backward()

    def _loss(self, ids: torch.Tensor, fused: bool) -> Any:
        # Logits of every position: of a transcript all but the question is trained. For rows with more context
        # ms-swift makes fewer (use_logits_to_keep), so that this is the most that it can be.
        if not fused:
            return self._model(input_ids=ids, labels=ids, use_cache=False).loss
        # Liger's fused loss makes the logits of some positions at a time, about as many numbers as the hidden states.
        hidden = self._model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
        head = self._model.get_output_embeddings()
        chunk = -(-len(hidden) // -(-head.out_features // head.in_features))
        return cross_entropy(head(hidden[:chunk]).float(), ids.flatten()[:chunk])


def alike(layers: torch.nn.ModuleList, config: Any) -> bool:
    """Whether a decoder's layers have the same modules, sizes and kind of attention."""
    kinds = getattr(config, "layer_types", None) or []
    return len(set(kinds)) <= 1 and len({repr(layer) for layer in layers}) == 1


def _on_cpu(model: torch.nn.Module) -> None:
    """Meta tensors become fake ones of the CPU, shared ones staying shared: autocast knows no meta device, and peft
    cannot be applied to fake tensors."""
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
def _no_gradients_kept(model: torch.nn.Module) -> Iterator[None]:
    """Each gradient is let go as soon as it is there: they are counted by themselves, whole or in shards."""

    def let_go(parameter: torch.Tensor) -> None:
        parameter.grad = None

    trained = [p for p in model.parameters() if p.requires_grad]
    hooks = [p.register_post_accumulate_grad_hook(let_go) for p in trained]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
