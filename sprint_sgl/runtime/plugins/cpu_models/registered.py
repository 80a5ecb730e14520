"""Found by SGLang through SGLANG_EXTERNAL_MODEL_PACKAGE; for any other architecture it still imports all of them."""

from sglang.srt.models.qwen2 import Qwen2ForCausalLM
from sglang.srt.models.transformers import TransformersForCausalLM

EntryClass = [Qwen2ForCausalLM, TransformersForCausalLM]
