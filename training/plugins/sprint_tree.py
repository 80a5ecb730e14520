"""A plugin of ms-swift: the template `sprint_tree`, which lays a transcript out as a tree (training/tree.py).

    swift sft --external_plugins training/plugins/sprint_tree.py --template sprint_tree --attn_impl sdpa ...

Rows stay readable transcripts; a row without stages is trained as it stands. Attention is given as a mask of every pair
of tokens (`--attn_impl sdpa`).
"""

from __future__ import annotations

from typing import Any

import torch
from swift.template import MaxLengthError, Template, TemplateMeta, register_template

from sprint_sgl.spelling import TransformersSpelling
from training.tree_rows import Spans, attention_mask, encoded, row_tree

NAMES = ("tree_entry", "tree_exit")


class SprintTree(Template):  # type: ignore[misc] # ms-swift ships no types
    """Encodes one user's and one assistant's message as a tree, and gives each batch its mask."""

    def _encode(self, inputs: Any) -> dict[str, Any]:
        context, response = (message["content"] for message in inputs.messages[:2])
        tree = row_tree(context, response, TransformersSpelling(self.tokenizer), self.tokenizer.eos_token_id)
        room = self.model_info.max_model_len
        if room and tree.longest_path > room:
            raise MaxLengthError(f"a path of {tree.longest_path} tokens does not fit the model's context, {room}")
        return {**encoded(tree), "loss_scale": None}

    def _data_collator(self, batch: list[dict[str, Any]], *, padding_to: int | None = None) -> dict[str, Any]:
        spans = [Spans(*(row.pop(name) for name in NAMES)) for row in batch]
        made: dict[str, Any] = super()._data_collator(batch, padding_to=padding_to)
        made["attention_mask"] = attention_mask(spans, made["input_ids"].shape[1], torch.device("cpu"))
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
