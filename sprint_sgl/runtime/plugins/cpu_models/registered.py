"""SGLang finds this file by SGLANG_EXTERNAL_MODEL_PACKAGE; for any other architecture it still imports all models."""

from sglang.srt.models.qwen2 import Qwen2ForCausalLM
from sglang.srt.models.transformers import TransformersForCausalLM

EntryClass = [Qwen2ForCausalLM, TransformersForCausalLM]
