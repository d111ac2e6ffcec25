# SPDX-License-Identifier: Apache-2.0
"""What a request took, in the forms of OpenAI, llama-server, Anthropic and ollama."""

from __future__ import annotations

from typing import Any

from lumen_mlir.serve.completion import Completion
from lumen_mlir.serve.events import Progress


def usage(completion: Completion) -> dict[str, Any]:
    """Tokens, as OpenAI counts them."""
    prompt, written = completion.prompt_tokens, completion.tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": completion.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": completion.reasoning_tokens},
    }


def timings(completion: Completion) -> dict[str, Any]:
    """Times in milliseconds and tokens in a second, as llama-server says them."""
    cached = completion.cached_tokens
    computed, written = completion.prompt_tokens - cached, completion.tokens
    prompt, decode = completion.prompt_seconds, completion.decode_seconds
    decoded = max(written - 1, 0)  # the first comes with the prompt
    return {
        "cache_n": cached,
        "prompt_n": computed,
        "prompt_ms": round(prompt * 1e3, 3),
        "prompt_per_token_ms": round(prompt * 1e3 / max(computed, 1), 3),
        "prompt_per_second": round(computed / prompt, 3) if prompt else 0.0,
        "predicted_n": written,
        "predicted_ms": round(decode * 1e3, 3),
        "predicted_per_token_ms": round(decode * 1e3 / max(decoded, 1), 3),
        "predicted_per_second": round(decoded / decode, 3) if decode else 0.0,
    }


def progress(event: Progress) -> dict[str, Any]:
    """How much of a prompt is there, as llama-server says it."""
    return {
        "total": event.total,
        "cache": event.cached,
        "processed": event.processed,
        "time_ms": round(event.seconds * 1e3),
    }


def messages_usage(completion: Completion) -> dict[str, Any]:
    """Tokens, as Anthropic counts them: what was known is not part of the input."""
    cached = completion.cached_tokens
    return {
        "input_tokens": completion.prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": completion.tokens,
    }


def responses_usage(completion: Completion) -> dict[str, Any]:
    """Tokens, as OpenAI's Responses count them."""
    prompt, written = completion.prompt_tokens, completion.tokens
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": completion.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": completion.reasoning_tokens},
        "total_tokens": prompt + written,
    }


def durations(completion: Completion) -> dict[str, int]:
    """Tokens, and times in nanoseconds, as ollama says them."""
    return {
        "prompt_eval_count": completion.prompt_tokens,
        "prompt_eval_duration": round(completion.prompt_seconds * 1e9),
        "eval_count": completion.tokens,
        "eval_duration": round(completion.decode_seconds * 1e9),
    }
