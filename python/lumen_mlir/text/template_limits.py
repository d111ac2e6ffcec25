# SPDX-License-Identifier: Apache-2.0
"""Jinja for templates that nobody vouches for: in the sandbox, within 1 s of CPU time and 16 MB of text.

A template is a program that comes with a model file. Jinja's sandbox keeps it from Python's internals, but
not from running forever or filling the memory. Here the code that Jinja makes counts what it does: it looks
at the clock in every block, call and filter, and weighs every value it makes. What one operation of Python
could blow up (``'a' * 10**9``) is weighed before it is done. That works in any thread, which signals would
not, and costs less than a process of its own.
"""

from __future__ import annotations

import re
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from itertools import chain
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox
from jinja2.compiler import CodeGenerator, Frame
from jinja2.utils import Namespace
from markupsafe import Markup

SECONDS = 1.0
"""CPU time of its thread that a template may take to be rendered; half of it to be compiled."""
SIZE = 16 << 20
"""Characters, or bytes of containers, that one value may have; the text of a prompt too."""

# Bytes that a template may make in all, most of which Python has freed again.
_IN_ALL = 16 * SIZE
# A source, and the Python code it becomes, in characters.
_SOURCE, _CODE = 1 << 20, 3 << 18
# Levels of nested expressions and blocks, far below what Python's stack can take.
_DEPTH = 150
# Items that a filter may be given, and numbers that say how wide or how many.
_COUNT = 1_000_000
# Bits of a whole number.
_BITS = 1 << 14
# Filters and methods that take much longer than their text is long, and what they are given at most.
_SLOW = {"pprint": 8 << 10, "urlize": 8 << 10, "striptags": 1 << 15, "wordwrap": 1 << 15, "xmlattr": 1 << 15}
_WIDTHS = frozenset(("center", "ljust", "rjust", "zfill", "expandtabs", "to_bytes"))
_COUNTED = frozenset(("center", "indent", "wordwrap", "batch", "slice", "round", "tojson", "urlize"))
_TEXT = (str, bytes, bytearray)
_CONTAINERS = (list, tuple, dict, set, frozenset)


class LimitError(Exception):
    """A template that takes too long, or makes too much."""


class _Run:
    """What one compilation or rendering has used up so far."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = time.thread_time() + seconds
        self._look = 0.0
        self._made = 0
        # Weights of the containers that were given to the template: none of it can change them.
        self.given: dict[int, int] = {}

    def tick(self) -> None:
        """Raises ``LimitError`` where the time is over."""
        # The clock of a thread is a call to the system; this one is not.
        now = time.perf_counter()
        if now >= self._look:
            self._look = now + 0.001
            if time.thread_time() > self._deadline:
                raise LimitError(f"the template takes longer than {self._seconds:g} s")

    def count(self, size: int) -> None:
        """Counts ``size`` bytes more."""
        if size > SIZE:
            raise _too_large()
        self._made += size
        if self._made > _IN_ALL:
            raise _too_large()
        self.tick()

    def made(self, value: Any) -> Any:
        """``value``, counted; what a container holds was counted when that was made."""
        self.fits(value)
        self.count(8 + 8 * len(value) if isinstance(value, _CONTAINERS) else weigh(value, self.given))
        return value

    def fits(self, value: Any) -> int:
        """What ``value`` weighs. Raises ``LimitError`` where it is too large."""
        weight = weigh(value, self.given)
        if weight > SIZE:
            raise _too_large()
        return weight


def _too_large() -> LimitError:
    return LimitError(f"the template makes more than {SIZE >> 20} MB")


def weigh(value: Any, known: Mapping[int, int], inside: dict[int, int] | None = None) -> int:
    """About the bytes that ``value`` takes as text, a part counted as often as it occurs.

    ``known``: weights by ``id``. A few nested lists may mean gigabytes of text: what is in a container twice
    is looked at once.
    """
    if isinstance(value, _TEXT):
        return len(value)
    if isinstance(value, int):
        if value.bit_length() > _BITS:
            raise LimitError(f"the template makes a number of more than {_BITS} bits")
        return 8
    if isinstance(value, Namespace):
        value = value._Namespace__attrs
    if not isinstance(value, _CONTAINERS):
        return 8
    weight = known.get(id(value))
    if weight is not None:
        return weight
    inside = {} if inside is None else inside
    if id(value) in inside:
        return inside[id(value)]
    inside[id(value)] = 8  # a namespace may hold itself
    parts = chain(value, value.values()) if isinstance(value, dict) else value
    weight = 8 + 8 * len(value)
    for part in parts:
        weight += weigh(part, known, inside)
    inside[id(value)] = weight
    return weight


class _Code(CodeGenerator):
    """Python code that counts. Notes the names that the template asks for in ``environment.asked``."""

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
        self._runs.current = _Run(SECONDS / 2)
        return self.from_string(source)

    def rendered(self, template: jinja2.Template, variables: Mapping[str, Any], share: float = 1) -> str:
        """The text of ``template``, in a ``share`` of the time. Any exception may come of it."""
        self._runs.current = run = _Run(share * SECONDS)
        _remember(variables, run.given)
        pieces, size = [], 0
        for piece in template.root_render_func(template.new_context(dict(variables))):
            pieces.append(piece)
            size += len(piece)
            if size > SIZE:
                raise _too_large()
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
    def run(self) -> _Run:
        """What the rendering in this thread has used up."""
        return self._runs.current

    def tick(self) -> bool:
        """See ``_Run``; True, so that code can go on behind it."""
        self._runs.current.tick()
        return True

    def made(self, value: Any) -> Any:
        """See ``_Run``."""
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
                if isinstance(sequence, (*_TEXT, list, tuple)) and isinstance(number, int) and number > 0:
                    self.run.count(weigh(sequence, self.run.given) * number)
        if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            times = right if operator == "**" else 1
            bits = left.bit_length() * times if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _BITS:
                raise LimitError(f"the template makes a number of more than {_BITS} bits")
        if operator == "%" and isinstance(left, _TEXT):
            _check_format(left, right if isinstance(right, tuple) else (right,))
        return self.made(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        run = __self.run
        for value in chain(args, kwargs.values()):
            run.fits(value)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, (*_TEXT, int)) and not isinstance(__obj, type):
            args = _checked_method(run, owner, getattr(__obj, "__name__", ""), args, kwargs)
        return run.made(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        form = value.__self__

        @wraps(wrapped)
        def checked(*args: Any, **kwargs: Any) -> str:
            _check_format(form, [*args, *kwargs.values()])
            return wrapped(*args, **kwargs)

        return checked


def _remember(value: Any, given: dict[int, int]) -> int:
    """Notes the weights of ``value`` and of all containers in it."""
    if isinstance(value, _CONTAINERS) and id(value) not in given:
        given[id(value)] = 8
        parts = chain(value, value.values()) if isinstance(value, Mapping) else value
        given[id(value)] = 8 + 8 * len(value) + sum(_remember(part, given) for part in parts)
    return weigh(value, given)


def _limited(environment: LimitedEnvironment, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Filter ``function``, which counts what it makes."""
    skipped = int(hasattr(function, "jinja_pass_arg"))

    @wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        run, (value, *others) = environment.run, args[skipped:]
        _check_filter(run, name, value, others, kwargs)
        return run.made(function(*args, **kwargs))

    return limited


def _check_filter(run: _Run, name: str, value: Any, args: list, kwargs: dict[str, Any]) -> None:
    weight = run.fits(value)
    if weight > _SLOW.get(name, SIZE):
        raise LimitError(f"filter '{name}' is given {weight} bytes; at most {_SLOW[name]} are possible")
    values = [*args, *kwargs.values()]
    for argument in values:
        run.fits(argument)
        if name in _COUNTED and isinstance(argument, int) and abs(argument) > _COUNT:
            raise LimitError(f"filter '{name}' is given {argument}; at most {_COUNT} is possible")
    if isinstance(value, _TEXT):
        if name == "format":
            _check_format(value, values)
        elif name == "replace":
            _count_replaced(run, value, *map(str, args[:2]))
        elif name == "indent":
            widths = [item if isinstance(item, int) else weigh(item, {}) for item in values] or [4]
            run.count(weight + (value.count("\n") + 1) * max(0, *widths, 4))
        elif name == "int" and weight > 4096:
            raise LimitError(f"a number of {weight} digits; at most 4096 are read")
        elif name in ("list", "batch", "slice", "sort", "unique", "map", "select", "reject", "groupby"):
            # A character of a string becomes an object of its own.
            run.count(80 * weight)
    if name == "tojson":
        _count_json(run, value, weight, kwargs, args)


def _count_json(run: _Run, value: Any, weight: int, kwargs: dict[str, Any], args: list) -> None:
    """Indentation multiplies what a value weighs by how deep it is."""
    indent = kwargs.get("indent", args[1] if len(args) > 1 else None)
    wide = indent if isinstance(indent, int) else len(indent) if isinstance(indent, str) else 0
    apart = kwargs.get("separators", args[2] if len(args) > 2 else None) or ()
    if wide > 64 or any(isinstance(part, str) and len(part) > 64 for part in apart):
        raise LimitError("filter 'tojson' is given an indentation or a separator of more than 64 characters")
    run.count(weight // 8 * (wide * _depth(value) + sum(map(len, apart))) + weight)


def _depth(value: Any, seen: dict[int, int] | None = None) -> int:
    """How deep the containers of ``value`` lie in each other."""
    if not isinstance(value, _CONTAINERS):
        return 0
    seen = {} if seen is None else seen
    if id(value) not in seen:
        seen[id(value)] = 0
        parts = value.values() if isinstance(value, dict) else value
        seen[id(value)] = 1 + max((_depth(part, seen) for part in parts), default=0)
    return seen[id(value)]


def _checked_method(run: _Run, owner: Any, name: str, args: tuple, kwargs: dict[str, Any]) -> tuple:
    """The arguments for method ``name`` of a text or a number, whose result is counted before it is made."""
    values = [*args, *kwargs.values()]
    if name in _WIDTHS:
        for width in (value for value in values if isinstance(value, int)):
            run.count(
                abs(width) * (1 + owner.count(b"\t" if isinstance(owner, bytes) else "\t"))
                if name == "expandtabs"
                else abs(width)
            )
    elif name == "replace" and len(args) > 1 and isinstance(args[0], type(owner)):
        _count_replaced(run, owner, args[0], args[1])
    elif name in ("split", "rsplit", "splitlines"):
        mark = next((value for value in values if isinstance(value, _TEXT)), None)
        run.count(64 * (owner.count(mark) if mark else len(owner) // 2) + len(owner))
    elif name == "join" and args:
        parts = []
        for part in args[0]:
            parts.append(part)
            run.count(weigh(part, run.given) + len(owner))
        run.count(sum(len(part) for part in parts if isinstance(part, _TEXT)) + len(owner) * len(parts))
        return (parts,)
    elif name == "translate" and args and isinstance(args[0], Mapping):
        longest = max((len(part) for part in args[0].values() if isinstance(part, str)), default=1)
        run.count(len(owner) * max(longest, 1))
    elif name in _SLOW and weigh(owner, {}) > _SLOW[name]:
        raise LimitError(f"'{name}' is given {len(owner)} bytes; at most {_SLOW[name]} are possible")
    return args


def _count_replaced(run: _Run, text: Any, old: Any, new: Any) -> None:
    # Of types that do not fit Python makes an error itself.
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        times = text.count(old) if old else len(text) + 1
        run.count(len(text) + times * max(0, len(new) - len(old)))


def _check_format(form: Any, values: Iterable[Any]) -> None:
    """Refuses widths and precisions that make a short value long."""
    text = form.decode("latin-1") if isinstance(form, (bytes, bytearray)) else str(form)
    width = sum(int(digits[:12]) for digits in re.findall(r"[0-9]+", text))
    if "*" in text or re.search(r"\{[^{}]*\{", text):
        width += sum(abs(value) for value in values if isinstance(value, int))
    if width > _COUNT:
        raise LimitError(f"a text is formatted with widths of {width}; at most {_COUNT} are possible")


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
