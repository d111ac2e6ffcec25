# SPDX-License-Identifier: Apache-2.0
"""Options that several subcommands share. Values are checked where they are used, not here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from lumen_mlir.cli.streams import tell
from lumen_mlir.compiler.targets import TARGETS
from lumen_mlir.errors import shown

Decorator = Callable[[Callable], Callable]


def _all(*decorators: Decorator) -> Decorator:
    def apply(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


_UNUSED = "lumen_mlir.cli.options_without_effect"


class Command(click.Command):
    """A subcommand that takes llama.cpp's spellings of options besides its own."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Puts the subcommand's own options in their place, before ``click`` reads them."""
        options = [parameter for parameter in self.params if isinstance(parameter, click.Option)]
        own = {name: option for option in options for name in (*option.opts, *option.secondary_opts)}
        foreign = (word for word in arguments if word[:1] == "-" and word.partition("=")[0] not in own)
        if not context.resilient_parsing and next(foreign, None) is not None:
            # Imported here because few need it, and every start would wait for it.
            from lumen_mlir.cli.llama_cpp_options import Translation

            translation = Translation(context.info_name or "", own)
            try:
                arguments = translation.translated(arguments)
            except click.UsageError as error:
                error.ctx = context
                raise
            context.meta[_UNUSED] = translation.unused
        return super().parse_args(context, arguments)

    def invoke(self, context: click.Context) -> Any:
        """Says first what has no effect."""
        given = context.params
        unused = dict(context.meta.get(_UNUSED) or {})
        on_cpu = given.get("device") in (None, "cpu") and not given.get("target", "").startswith("sm_")
        if given.get("gpu_layers", "auto") != "auto" and on_cpu:
            unused["the model runs on the CPU; --device says what else it can run on"] = ["--gpu-layers"]
        if unused and not context.params.get("quiet"):
            reasons = "; ".join(f"{', '.join(names)} ({why})" for why, names in unused.items())
            tell(f"lumen: warning: no effect here: {reasons}")
        return super().invoke(context)


def complete_files(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Completes paths. (A type of ``click`` that does so would check them too.)"""
    return [CompletionItem(begun, type="file")]


_MODEL_OPTION = "lumen_mlir.cli.model"


def _keep_model(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    context.meta[_MODEL_OPTION] = value


def one_model(context: click.Context, given: str | None) -> str | None:
    """The model that an argument names, or ``-m``. Raises ``click.UsageError`` where both do."""
    option = context.meta.get(_MODEL_OPTION)
    if given is not None and option is not None:
        raise click.UsageError(f"there are two models: {given} and -m {option}", context)
    return given if option is None else option


def _model(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    return one_model(context, value)


def several_models(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """The callback of an argument for any number of models: ``-m`` gives one."""
    model = one_model(context, next(iter(values), None))
    return values or (() if model is None else (model,))


# For those who are used to it. What it gives is read by ``one_model``.
model_option = click.option(
    "-m",
    "--model",
    "model_option",
    metavar="MODEL",
    is_eager=True,
    expose_value=False,
    callback=_keep_model,
    shell_complete=complete_files,
    help="Another way to give MODEL.",
)

model_argument = _all(
    click.argument(
        "model", required=False, metavar="[MODEL]", shell_complete=complete_files, callback=_model
    ),
    model_option,
)

# Where a text comes from: ``cli.text.text_of`` reads it.
prompt_option = click.option("-p", "--prompt", help="The text.  [default: what stdin has]")
file_option = click.option(
    "-f",
    "--file",
    "prompt_file",
    metavar="FILE",
    shell_complete=complete_files,
    help="A file with the text (UTF-8).",
)

escape_option = click.option(
    "-e", "--escape", is_flag=True, help=r"Read \n, \t, \" and \\ in the text as a newline, a tab, … ."
)

target_option = click.option(
    "--target",
    default="native",
    show_default=True,
    help=f"{', '.join(target.name for target in TARGETS)}, or native: the best one for the device.",
)


def _device(context: click.Context, option: click.Option, value: str | None) -> str | None:
    """llama.cpp's spellings are taken, too: CUDA0, none."""
    if value is None:
        return None
    match = re.fullmatch(r"(cuda|vulkan)(\d+)", value.lower())
    return f"{match[1]}:{match[2]}" if match else "cpu" if value.lower() == "none" else value


device_option = click.option(
    "--device",
    "-dev",
    metavar="NAME",
    callback=_device,
    help="What runs the model: cpu, cuda (the first GPU), cuda:1, …; 'lumen devices' lists them.  "
    "[default: cpu]",
)


gpu_layers_option = click.option(
    "--gpu-layers",
    "-ngl",
    "--n-gpu-layers",
    metavar="N",
    default="auto",
    show_default=True,
    help="With --device cuda: how many of the last layers it computes (a number, all, or auto: as many as "
    "fit); the CPU computes the others.",
)

activations_option = click.option(
    "--activations",
    default="int8",
    show_default=True,
    help="What weights are multiplied with: int8 (bf16 for BF16 weights on CPUs with instructions for it, "
    "float32 for other floats), or exact (float32).",
)

engine_option = click.option(
    "--engine", default="compiled", show_default=True, help="compiled, or reference (NumPy; slow)."
)

kv_type_option = click.option(
    "--kv-type",
    "--kv",
    default="f16",
    show_default=True,
    help="Elements of the KV cache: f16, f32, or q8_0 (half the memory of f16).",
)

kv_disk_option = click.option(
    "--kv-disk",
    metavar="SIZE",
    default="0",
    help="Keep keys and values on disk, at most SIZE such as 4G, for prompts that begin alike.  "
    "[default: none]",
)

kv_pool_option = click.option(
    "--kv-pool",
    type=int,
    metavar="TOKENS",
    help="Tokens of all texts together that the KV cache has room for.  [default: the context]",
)

pre_tokenizer_option = click.option(
    "--pre-tokenizer",
    metavar="NAME",
    help="How text is cut into words, where the file does not say or says it wrongly: qwen2, llama-bpe, ….",
)

pack_cache_option = click.option(
    "--no-pack-cache",
    "pack_cache",
    flag_value=False,
    default=True,
    help="Pack weights anew; write no copy of them.",
)

format_option = click.option(
    "--format",
    metavar="NAME",
    help="What a Hugging Face folder is quantized to: q8_0, q4_k_m, ….  [default: its own type]",
)

threads_option = click.option(
    "-t", "--threads", type=int, help="Threads.  [default: LUMEN_THREADS or physical cores]"
)

chunk_option = click.option(
    "--chunk", type=int, default=512, show_default=True, help="Most prompt tokens computed at once."
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")

draft_option = click.option(
    "--draft",
    metavar="FILE",
    shell_complete=complete_files,
    help="A smaller model with the same tokens, which guesses what comes next, where that is faster. No text "
    "changes.",
)

# How steps are computed, whatever the context.
step_options = _all(
    threads_option,
    engine_option,
    device_option,
    gpu_layers_option,
    target_option,
    kv_type_option,
    activations_option,
    format_option,
    pre_tokenizer_option,
    pack_cache_option,
    chunk_option,
)

memory_options = _all(
    click.option(
        "--memory-budget",
        metavar="SIZE",
        help="Memory to get by with, such as 2G: gives a shorter context, and q8_0 keys and values.",
    ),
    click.option("--dry-run", is_flag=True, help="Show the memory that a run takes, and read no weights."),
)

engine_options = _all(
    draft_option,
    memory_options,
    click.option(
        "-c",
        "--context",
        type=int,
        help="Tokens of context (0: all of the model's own).  [default: the model's own, at most 32768]",
    ),
    kv_disk_option,
    step_options,
)


def _logit_bias(
    context: click.Context, option: click.Option, values: tuple[str, ...]
) -> dict[int, float] | None:
    """What ``--logit-bias`` says, by token. llama.cpp's forms ``TOKEN+X`` and ``TOKEN-X`` are taken too."""
    found = {}
    for value in values:
        match = re.fullmatch(r"(\d{1,10})(?:=|(?=[-+]))([^=]+)", value)
        try:
            found[int(match[1])] = float(match[2])
        except (TypeError, ValueError):
            raise click.UsageError(
                f"--logit-bias is {shown(value)}; TOKEN=X, such as 15043=-1.5, was expected"
            ) from None
    return found or None


sampling_options = _all(
    click.option("--temp", "temperature", type=float, help="0: greedy.  [default: the model's own, or 0.8]"),
    click.option(
        "--top-k",
        type=int,
        help="Draw from the K likeliest tokens (0 or -1: all).  [default: the model's own, or 40]",
    ),
    click.option(
        "--top-p",
        type=float,
        help="… from the likeliest that have this share of the probability together (0: from one).  "
        "[default: the model's own, or 0.95]",
    ),
    click.option(
        "--min-p",
        type=float,
        help="… from those at least this likely, relative to the likeliest.  "
        "[default: the model's own, or 0.05]",
    ),
    click.option(
        "--repeat-penalty",
        type=float,
        help="Makes the last 64 tokens less likely (1: does not).  [default: the model's own, or 1]",
    ),
    click.option(
        "--typical-p",
        type=float,
        help="… from those about as likely as a token is expected to be, with this share of the probability "
        "together (1: all).  [default: 1]",
    ),
    click.option(
        "--presence-penalty",
        type=float,
        help="Makes tokens that were written before less likely (-2 to 2; 0: does not).  [default: 0]",
    ),
    click.option(
        "--frequency-penalty",
        type=float,
        help="… for each time that they were written.  [default: 0]",
    ),
    click.option(
        "--logit-bias",
        multiple=True,
        metavar="TOKEN=X",
        callback=_logit_bias,
        help="Adds X (-100 to 100) to the logit of the token with this id (may be repeated).",
    ),
    click.option(
        "-s", "--seed", type=int, help="The same seed draws the same text (-1: any).  [default: any]"
    ),
    click.option(
        "--speculate",
        is_flag=True,
        default=None,
        help="Guess tokens from what was there before, where that is faster. No text changes.",
    ),
    click.option("--ignore-eos", is_flag=True, help="Go on where the model would end the text."),
    click.option("--stop", multiple=True, metavar="TEXT", help="End before this text (may be repeated)."),
)

SAMPLING_NAMES = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repeat_penalty",
    "typical_p",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "seed",
    "speculate",
    "ignore_eos",
    "stop",
)

verbosity_options = _all(
    click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors."),
    click.option("-v", "--verbose", is_flag=True, help="More about the model and what was chosen."),
)


def sampling_of(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the sampling parameters out of a subcommand's options."""
    return {name: options.pop(name) for name in SAMPLING_NAMES}


def token_limit(count: int) -> int | None:
    """``-n``: a negative number means no limit."""
    return None if count < 0 else count
