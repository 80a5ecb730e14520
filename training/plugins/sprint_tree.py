"""A plugin of ms-swift: the template `sprint_tree`, which lays transcripts out as trees (training/tree/layout.py).

    swift sft --external_plugins training/plugins/sprint_tree.py --template sprint_tree --attn_impl tree_sdpa ...

Rows of the channel `tree` become trees, all others are trained as they stand, as with the template `dummy`.
"""

from __future__ import annotations

from typing import Any

from swift.template import MaxLengthError, Template, TemplateMeta, register_template

from sprint_sgl.runtime.tokenizer import TransformersTokenizer
from training.tree.attention import Spans, stacked
from training.tree.rows import encoded, row_tree

NAMES = ("tree_entry", "tree_exit")


class SprintTree(Template):  # type: ignore[misc] # ms-swift ships no types
    """Encodes one user's and one assistant's message as a tree; a batch carries the spans of its nodes as its mask."""

    def _encode(self, inputs: Any) -> dict[str, Any]:
        row = {"messages": inputs.messages, "channel": inputs.channel}
        tree = row_tree(row, TransformersTokenizer(self.tokenizer), self.tokenizer.eos_token_id)
        room = self.model_info.max_model_len
        if room and tree.longest_path > room:
            raise MaxLengthError(f"a path of {tree.longest_path} tokens does not fit the model's context, {room}")
        return {**encoded(tree), "loss_scale": None}

    def _data_collator(self, batch: list[dict[str, Any]], *, padding_to: int | None = None) -> dict[str, Any]:
        spans = [Spans(*(row.pop(name) for name in NAMES)) for row in batch]
        made: dict[str, Any] = super()._data_collator(batch, padding_to=padding_to)
        made["attention_mask"] = stacked(spans, made["input_ids"].shape[1])
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
