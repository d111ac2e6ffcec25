# SPDX-License-Identifier: Apache-2.0
"""Jinja for templates that nobody vouches for: in the sandbox, within 1 s of CPU time and 16 MB of text.

A template is a program that comes with a model file. Jinja's sandbox keeps it from Python's internals, but
not from running forever or filling the memory. Here the code that Jinja makes counts what it does: it looks
at the clock in every block, call and filter, and weighs every value it makes. What one operation of Python
could blow up (``'a' * 10**9``) is weighed before it is done. That works in any thread, which signals would
not, and costs less than a process of its own.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from itertools import chain
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox
from jinja2.compiler import CodeGenerator, Frame
from markupsafe import Markup

from lumen_mlir.text.template_budget import BITS, SIZE, TEXT, LimitError, Run, remember, too_large, weigh
from lumen_mlir.text.template_checks import check_filter, check_format, checked_method

SECONDS = 1.0
"""CPU time of its thread that a template may take to be rendered; half of it to be compiled."""
# A source, and the Python code it becomes, in characters.
_SOURCE, _CODE = 1 << 20, 3 << 18
# Levels of nested expressions and blocks, far below what Python's stack can take.
_DEPTH = 150


class _Code(CodeGenerator):
    """Python code that counts. Notes the names that the template asks for in ``environment.asked``."""

    environment: Any
    _depth = 0

    def visit(self, node: jinja2.nodes.Node, *args: Any, **kwargs: Any) -> Any:
        self.environment.tick()
        self._depth += 1
        if self._depth > _DEPTH:
            raise LimitError(f"the template is nested more than {_DEPTH} levels deep")
        try:
            return super().visit(node, *args, **kwargs)
        finally:
            self._depth -= 1

    def enter_frame(self, frame: Frame) -> None:
        super().enter_frame(frame)
        for action, name in frame.symbols.loads.values():
            if action == "resolve" and name not in self.environment.globals:
                self.environment.asked.add(name)

    def blockvisit(self, nodes: Iterable[jinja2.nodes.Node], frame: Frame) -> None:
        self.writeline("environment.tick()")
        super().blockvisit(nodes, frame)

    def _output_child_to_const(self, node: jinja2.nodes.Expr, frame: Frame, finalize: Any) -> str:
        # Nothing is computed at compile time, where the limits of a rendering do not hold.
        if not isinstance(node, jinja2.nodes.TemplateData):
            raise jinja2.nodes.Impossible()
        return super()._output_child_to_const(node, frame, finalize)

    def visit_Concat(self, node: jinja2.nodes.Concat, frame: Frame) -> None:
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("), context.eval_ctx.autoescape)")

    def visit_Getitem(self, node: jinja2.nodes.Getitem, frame: Frame) -> None:
        self._counted(node, frame, super().visit_Getitem, isinstance(node.arg, jinja2.nodes.Slice))

    def visit_Compare(self, node: jinja2.nodes.Compare, frame: Frame) -> None:
        # To look for a text in another takes as long as that is.
        self.write("(environment.tick() and ")
        super().visit_Compare(node, frame)
        self.write(")")

    def visit_Test(self, node: jinja2.nodes.Test, frame: Frame) -> None:
        self.write("(environment.tick() and ")
        super().visit_Test(node, frame)
        self.write(")")

    def visit_List(self, node: jinja2.nodes.List, frame: Frame) -> None:
        self._counted(node, frame, super().visit_List, True)

    def visit_Dict(self, node: jinja2.nodes.Dict, frame: Frame) -> None:
        self._counted(node, frame, super().visit_Dict, True)

    def visit_Tuple(self, node: jinja2.nodes.Tuple, frame: Frame) -> None:
        self._counted(node, frame, super().visit_Tuple, node.ctx == "load")

    def _counted(
        self, node: jinja2.nodes.Expr, frame: Frame, write: Callable[..., None], counts: bool
    ) -> None:
        self.write("environment.made(" if counts else "")
        write(node, frame)
        self.write(")" if counts else "")


class _Ticks(jinja2.ext.Extension):
    """Looks at the clock at every token of a source."""

    environment: Any

    def filter_stream(self, stream: jinja2.lexer.TokenStream) -> Iterator[jinja2.lexer.Token]:
        for token in stream:
            self.environment.tick()
            yield token


class LimitedEnvironment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """A sandbox whose templates are made by ``compiled`` and run by ``rendered``.

    Attributes:
      asked: names that the sources compiled so far look up.
    """

    code_generator_class = _Code
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, **options: Any):
        extensions = [*options.pop("extensions", ()), _Ticks]
        super().__init__(optimized=False, finalize=self._text, extensions=extensions, **options)
        # Of use in no prompt, and made by a slow loop.
        del self.globals["lipsum"]
        self._runs = threading.local()
        self.asked: set[str] = set()
        self.filters |= {"join": _join, "sum": _sum}
        for name, function in self.filters.items():
            self.filters[name] = _limited(self, name, function)

    def add_filter(self, name: str, function: Callable[..., Any]) -> None:
        """Adds a filter that is counted too."""
        self.filters[name] = _limited(self, name, function)

    def compiled(self, source: str) -> jinja2.Template:
        """The template of ``source``. Any exception may come of it."""
        if len(source) > _SOURCE:
            raise LimitError(f"the template has {len(source)} characters; at most {_SOURCE} are read")
        self._runs.current = Run(SECONDS / 2)
        return self.from_string(source)

    def rendered(self, template: jinja2.Template, variables: Mapping[str, Any], share: float = 1) -> str:
        """The text of ``template``, in a ``share`` of the time. Any exception may come of it."""
        self._runs.current = run = Run(share * SECONDS)
        remember(variables, run.given)
        pieces, size = [], 0
        for piece in template.root_render_func(template.new_context(dict(variables))):
            pieces.append(piece)
            size += len(piece)
            if size > SIZE:
                raise too_large()
            run.tick()
        return "".join(pieces)

    def _compile(self, source: str, filename: str) -> Any:
        if len(source) > _CODE:
            raise LimitError(
                f"the template becomes {len(source)} characters of code; at most {_CODE} are run"
            )
        with warnings.catch_warnings():
            # Of what looks wrong in a template Python would tell on stderr.
            warnings.simplefilter("ignore")
            return super()._compile(source, filename)

    # --- what the code calls --------------------------------------------------------------------------------

    @property
    def run(self) -> Run:
        """What the rendering in this thread has used up."""
        return self._runs.current

    def tick(self) -> bool:
        """See ``Run``; True, so that code can go on behind it."""
        self._runs.current.tick()
        return True

    def made(self, value: Any) -> Any:
        """See ``Run``."""
        return self._runs.current.made(value)

    def joined(self, parts: tuple, escaped: bool) -> str:
        """The operator ``~``."""
        texts = [self._text(part) for part in parts]
        self.run.count(sum(map(len, texts)))
        if escaped:
            return Markup("").join(texts)
        return "".join(map(str, texts))

    def concat(self, pieces: Iterable[str]) -> str:
        """The text of a macro or of a block that is assigned."""
        pieces = list(pieces)
        self.run.count(sum(map(len, pieces)))
        return "".join(pieces)

    def _text(self, value: Any) -> Any:
        if isinstance(value, str) or hasattr(value, "__html__"):
            return value
        text = str(value)
        self.run.count(len(text))
        return text

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for sequence, number in ((left, right), (right, left)):
                if isinstance(sequence, (*TEXT, list, tuple)) and isinstance(number, int) and number > 0:
                    self.run.count(weigh(sequence, self.run.given) * number)
        if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            times = right if operator == "**" else 1
            bits = left.bit_length() * times if operator == "**" else left.bit_length() + right.bit_length()
            if bits > BITS:
                raise LimitError(f"the template makes a number of more than {BITS} bits")
        if operator == "%" and isinstance(left, TEXT):
            check_format(left, right if isinstance(right, tuple) else (right,))
        return self.made(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        run = __self.run
        for value in chain(args, kwargs.values()):
            run.fits(value)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, (*TEXT, int)) and not isinstance(__obj, type):
            args = checked_method(run, owner, getattr(__obj, "__name__", ""), args, kwargs)
        return run.made(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        form = value.__self__

        @wraps(wrapped)
        def checked(*args: Any, **kwargs: Any) -> str:
            check_format(form, [*args, *kwargs.values()])
            return wrapped(*args, **kwargs)

        return checked


def _limited(environment: LimitedEnvironment, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Filter ``function``, which counts what it makes."""
    skipped = int(hasattr(function, "jinja_pass_arg"))

    @wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        run, (value, *others) = environment.run, args[skipped:]
        check_filter(run, name, value, others, kwargs)
        return run.made(function(*args, **kwargs))

    return limited


def _items(value: Any, attribute: Any, environment: jinja2.Environment) -> Iterator[Any]:
    if attribute is None:
        return iter(value)
    return map(jinja2.filters.make_attrgetter(environment, attribute), value)


@jinja2.pass_eval_context
def _join(context: Any, value: Any, d: str = "", attribute: Any = None) -> str:
    """Jinja's ``join``, which counts while it collects."""
    environment: LimitedEnvironment = context.environment
    parts = []
    for part in _items(value, attribute, environment):
        text = environment._text(part)
        environment.run.count(len(text) + len(str(d)))
        parts.append(text)
    environment.run.count(sum(map(len, parts)) + len(str(d)) * len(parts))
    if context.autoescape:
        return Markup(jinja2.filters.escape(d)).join(parts)
    return str(d).join(map(str, parts))


@jinja2.pass_environment
def _sum(environment: LimitedEnvironment, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    """Jinja's ``sum``, which joins lists in one go."""
    items = _items(iterable, attribute, environment)
    if isinstance(start, (list, tuple)):
        joined = list(start)
        for item in items:
            environment.run.fits(item)
            joined += item
            environment.run.count(8 * len(item))
        return joined
    if isinstance(start, str):
        raise TypeError("texts are joined by the filter 'join'")
    total = start
    for item in items:
        environment.tick()
        total = total + item
    return total
