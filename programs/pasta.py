"""PASTA: promises with a topic and a length are kept asynchronously, and synchronised before the model goes on (Jin et
al. 2025, section 3).

    <promises_1> <promise_1.1> topic, ~200 characters </promise_1.1>      starts at once, beside the writer
                 <promise_1.2> ..                      </promise_1.2> </promises_1>
    <sync_1> <async_1.1> its text </async_1.1> <async_1.2> .. </async_1.2> </sync_1>

A promise sees the text up to itself, and the full texts of all promises enter the context.

Departures: the paper's interpreter reserves a promise's positions by its predicted length, so that the writer's later
tokens keep their positions and nothing is computed again at the sync. A stock engine numbers positions without gaps:
here the texts are prefilled at the sync, each once, at their true places (`uncached_prefill_tokens` has the price), and
the predicted length is for the reader alone. Tags are ours; in the paper a promise is one tag with attributes.
"""

from __future__ import annotations

from programs.sprint import format_program
from sprint_sgl import protocol

pasta_program = format_program(protocol.PASTA)
