"""A plugin of ms-swift: the template `sprint_tree`, which lays transcripts out as trees (training/tree/layout.py).

    swift sft --external_plugins training/plugins/sprint_tree.py --template sprint_tree --attn_impl tree_sdpa ...

Rows of channel `tree` become trees. All other rows are trained unchanged, as with the template `dummy`.
"""

from __future__ import annotations

from typing import Any

from swift.template import MaxLengthError, Template, TemplateMeta, register_template

from sprint_sgl.runtime.tokenizer import TransformersTokenizer
from training.tree.attention import Spans, stack_spans
from training.tree.labels import encode_tree, row_tree

NAMES = ("tree_entry", "tree_exit")


class SprintTree(Template):  # type: ignore[misc] # ms-swift ships no types
    """Encode a user and an assistant message as a tree. A batch carries the spans of its nodes in place of a mask."""

    def _encode(self, inputs: Any) -> dict[str, Any]:
        row = {"messages": inputs.messages, "channel": inputs.channel}
        tree = row_tree(row, TransformersTokenizer(self.tokenizer), self.tokenizer.eos_token_id)
        room = self.model_info.max_model_len
        if room and tree.longest_path > room:
            raise MaxLengthError(f"a path of {tree.longest_path} tokens exceeds the model's context of {room}")
        return {**encode_tree(tree), "loss_scale": None}

    def _data_collator(self, batch: list[dict[str, Any]], *, padding_to: int | None = None) -> dict[str, Any]:
        spans = [Spans(*(row.pop(name) for name in NAMES)) for row in batch]
        made: dict[str, Any] = super()._data_collator(batch, padding_to=padding_to)
        made["attention_mask"] = stack_spans(spans, made["input_ids"].shape[1])
        return made


register_template(
    TemplateMeta(
        "sprint_tree",
        prefix=[],
        prompt=["{{QUERY}}"],
        chat_sep=None,
        suffix=[["eos_token_id"]],
        template_cls=SprintTree,
    )
)
