# SPDX-License-Identifier: Apache-2.0
"""The IR bindings: parsing, building, editing, lifetimes, threads."""

import gc
import threading

import numpy as np
import pytest

from lumen_mlir import ir

ADD = """
func.func @add(%a: i32, %b: i32) -> i32 {
  %0 = arith.addi %a, %b : i32
  %1 = arith.muli %0, %a : i32
  return %1 : i32
}
"""


@pytest.fixture
def context():
    with ir.Context() as context:
        yield context


def body_of(module, index=0):
    return module.body.operations[index].regions[0].blocks[0]


# ---- parsing and printing ----


def test_parse_and_print_round_trip(context):
    module = ir.Module.parse(ADD)
    assert str(ir.Module.parse(str(module))) == str(module)
    assert module.operation.name == "builtin.module"
    assert module.operation.verify()


def test_parse_error_has_location_severity_and_notes(context):
    with pytest.raises(ir.MLIRError) as caught:
        ir.Module.parse("func.func @f() {\n  return\n}\nfunc.func @f() { return }")
    (diagnostic,) = caught.value.error_diagnostics
    assert "redefinition of symbol named 'f'" in diagnostic.message
    assert diagnostic.severity == ir.DiagnosticSeverity.ERROR
    assert (diagnostic.location.filename, diagnostic.location.line) == ("-", 4)
    assert [note.message for note in diagnostic.notes] == ["see existing symbol definition here"]
    assert '-":4:1: error: redefinition' in str(caught.value)


def test_parse_file(context, tmp_path):
    path = tmp_path / "add.mlir"
    path.write_text(ADD)
    module = ir.Module.parseFile(str(path))
    assert module.body.operations[0].location.filename.endswith("add.mlir")
    with pytest.raises(ir.MLIRError, match="missing.mlir"):
        ir.Module.parseFile(str(tmp_path / "missing.mlir"))


def test_operation_parse(context):
    op = ir.Operation.parse("func.func private @f(i32)")
    assert op.name == "func.func" and op.parent is None


def test_get_asm_flags(context):
    module = ir.Module.parse(
        "func.func @f() { %0 = arith.constant dense<[1, 2, 3, 4]> : tensor<4xi32> return }"
    )
    assert '"func.func"()' in module.get_asm(print_generic_op_form=True)
    assert 'loc("-":1:1)' in module.get_asm(enable_debug_info=True, use_local_scope=True)
    assert "dense_resource<__elided__>" in module.get_asm(large_elements_limit=2)
    assert "arith.constant" not in module.body.operations[0].get_asm(skip_regions=True)


def test_no_context_raises():
    with pytest.raises(RuntimeError, match="no Context"):
        ir.Module.parse("")


def test_unregistered_dialect(context):
    with pytest.raises(ir.MLIRError, match="unregistered dialect"):
        ir.Module.parse('"no.op"() : () -> ()')
    with pytest.raises(ir.MLIRError, match="'no.op' is not known"):
        ir.Operation.create("no.op")
    context.allow_unregistered_dialects = True
    assert ir.Operation.create("no.op").name == "no.op"


def test_lumen_dialect_types(context):
    for text in ["!lumen.q<@q4_k>", "tensor<8x32x!lumen.q<@q8_0>>"]:
        assert str(ir.Type.parse(text)) == text
    assert context.is_registered_operation("lumen.linear")
    assert not context.is_registered_operation("lumen.nothing")


# ---- types ----


def test_scalar_types(context):
    assert ir.IntegerType.get_signless(8) == ir.Type.parse("i8")
    assert ir.IntegerType.get_unsigned(8).is_unsigned and ir.IntegerType.get_signed(8).is_signed
    assert isinstance(ir.Type.parse("i8"), ir.IntegerType) and ir.Type.parse("i8").width == 8
    for cls, text, width in [
        (ir.F16Type, "f16", 16),
        (ir.BF16Type, "bf16", 16),
        (ir.F32Type, "f32", 32),
        (ir.F64Type, "f64", 64),
    ]:
        assert str(cls.get()) == text and cls.get().width == width
        assert isinstance(cls.get(), ir.FloatType)
    assert ir.IndexType.isinstance(ir.Type.parse("index"))
    with pytest.raises(ValueError, match="cannot cast"):
        ir.IndexType(ir.F32Type.get())
    with pytest.raises(ir.MLIRError, match="unable to parse type"):
        ir.Type.parse("tensor<")


def test_shaped_types(context):
    dynamic = ir.ShapedType.get_dynamic_size()
    tensor = ir.RankedTensorType.get([dynamic, 4], ir.F32Type.get())
    assert str(tensor) == "tensor<?x4xf32>" and tensor.shape == [dynamic, 4]
    assert (tensor.rank, tensor.has_static_shape, tensor.is_dynamic_dim(0)) == (2, False, True)
    assert tensor.get_dim_size(1) == 4 and tensor.element_type == ir.F32Type.get()
    assert tensor.encoding is None
    with pytest.raises(IndexError):
        tensor.get_dim_size(2)
    encoded = ir.RankedTensorType.get(
        [2, 32], ir.F32Type.get(), ir.Attribute.parse("#lumen.packed<rows = 16>")
    )
    assert str(encoded.encoding) == "#lumen.packed<rows = 16>"
    assert str(ir.VectorType.get([4], ir.Type.parse("i8"))) == "vector<4xi8>"
    memref = ir.MemRefType.get([2], ir.F32Type.get(), memory_space=ir.Attribute.parse("1"))
    assert str(memref) == "memref<2xf32, 1>" and str(memref.memory_space) == "1 : i64"
    with pytest.raises(ir.MLIRError):
        ir.VectorType.get([0], ir.F32Type.get())


def test_function_type(context):
    f32, i32 = ir.F32Type.get(), ir.IntegerType.get_signless(32)
    type = ir.FunctionType.get([f32, i32], [f32])
    assert str(type) == "(f32, i32) -> f32" and type.inputs == [f32, i32] and type.results == [f32]
    assert {f32: 1}[ir.F32Type.get()] == 1


def test_objects_of_two_contexts_do_not_mix(context):
    with ir.Context():
        other = ir.F32Type.get()
    with pytest.raises(ValueError, match="belongs to another Context"):
        ir.FunctionType.get([ir.F32Type.get(), other], [])


# ---- attributes ----


@pytest.mark.parametrize(
    "text, cls, value",
    [
        ("-3 : i8", "IntegerAttr", -3),
        ("200 : ui8", "IntegerAttr", 200),
        ("7 : index", "IntegerAttr", 7),
        ("true", "BoolAttr", True),
        ("1.5 : f32", "FloatAttr", 1.5),
        ('"a"', "StringAttr", "a"),
        ("@a", "FlatSymbolRefAttr", "a"),
        ("@a::@b", "SymbolRefAttr", ["a", "b"]),
    ],
)
def test_attribute_values(context, text, cls, value):
    attribute = ir.Attribute.parse(text)
    assert type(attribute) is getattr(ir, cls) and attribute.value == value
    assert ir.Attribute.parse(str(attribute)) == attribute


def test_attribute_constructors(context):
    i8 = ir.IntegerType.get_signless(8)
    assert ir.IntegerAttr.get(i8, -1).value == -1 and int(ir.IntegerAttr.get(i8, 127)) == 127
    assert str(ir.IntegerAttr.get(ir.IndexType.get(), 3)) == "3 : index"
    assert float(ir.FloatAttr.get(ir.F16Type.get(), 0.5)) == 0.5 and ir.FloatAttr.get_f32(2.0).value == 2.0
    assert ir.TypeAttr.get(i8).value == i8 and str(ir.UnitAttr.get()) == "unit"
    assert bool(ir.BoolAttr.get(True)) and not ir.BoolAttr.get(False)
    array = ir.ArrayAttr.get([ir.StringAttr.get("x"), ir.UnitAttr.get()])
    assert len(array) == 2 and array[0].value == "x" and [str(a) for a in array] == ['"x"', "unit"]
    with pytest.raises(IndexError):
        array[2]
    table = ir.DictAttr.get({"b": ir.UnitAttr.get(), "a": ir.StringAttr.get("y")})
    assert list(table) == ["a", "b"] and table["a"].value == "y" and "c" not in table
    with pytest.raises(KeyError):
        table["c"]
    for cls, text in [
        (ir.DenseI8ArrayAttr, "array<i8: 1, -2>"),
        (ir.DenseI32ArrayAttr, "array<i32: 1, -2>"),
        (ir.DenseI64ArrayAttr, "array<i64: 1, -2>"),
    ]:
        assert str(cls.get([1, -2])) == text and list(ir.Attribute.parse(text)) == [1, -2]
        assert type(ir.Attribute.parse(text)) is cls
    with pytest.raises(ValueError, match="takes a float type"):
        ir.FloatAttr.get(i8, 1.0)


@pytest.mark.parametrize(
    "dtype", [np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64]
)
def test_dense_elements_round_trip(context, dtype):
    values = np.array([[0, 1, 2], [3, 4, 120]]).astype(dtype)
    attribute = ir.DenseElementsAttr.get(values, signless=False)
    assert attribute.type.shape == [2, 3]
    back = np.asarray(attribute)
    assert back.dtype == values.dtype and np.array_equal(back, values)
    assert np.array_equal(ir.Attribute.parse(str(attribute)).to_numpy(), values)


def test_dense_elements_of_other_types(context):
    bf16 = ir.RankedTensorType.get([2], ir.BF16Type.get())
    attribute = ir.DenseElementsAttr.get(np.array([0x3F80, 0xC000], np.uint16), type=bf16)
    assert str(attribute) == "dense<[1.000000e+00, -2.000000e+00]> : tensor<2xbf16>"
    assert attribute.to_numpy().tolist() == [0x3F80, 0xC000]
    with pytest.raises(ValueError, match="array of 3 elements for type tensor<2xbf16>"):
        ir.DenseElementsAttr.get(np.zeros(3, np.uint16), type=bf16)
    with pytest.raises(ValueError, match="elements of 4 bytes"):
        ir.DenseElementsAttr.get(np.zeros(2, np.float32), type=bf16)


def test_dense_splat(context):
    type = ir.RankedTensorType.get([2, 2], ir.F32Type.get())
    splat = ir.DenseElementsAttr.get_splat(type, ir.FloatAttr.get_f32(1.5))
    assert splat.is_splat and splat.get_splat_value().value == 1.5 and len(splat) == 4
    assert np.array_equal(splat.to_numpy(), np.full((2, 2), 1.5, np.float32))
    with pytest.raises(ValueError, match="cannot fill"):
        ir.DenseElementsAttr.get_splat(type, ir.Attribute.parse("1 : i32"))


# ---- building and editing ----


def test_build_a_function(context):
    i32 = ir.IntegerType.get_signless(32)
    module = ir.Module.create()
    with ir.InsertionPoint(module.body), ir.Location.file("model.py", 3, 1):
        function = ir.Operation.create(
            "func.func",
            regions=1,
            attributes={
                "sym_name": ir.StringAttr.get("twice"),
                "function_type": ir.TypeAttr.get(ir.FunctionType.get([i32], [i32])),
            },
        )
        block = function.regions[0].blocks.append(i32)
        with ir.InsertionPoint(block):
            total = ir.Operation.create(
                "arith.addi",
                operands=[block.arguments[0]] * 2,
                infer_type=True,
                attributes={"overflowFlags": ir.Attribute.parse("#arith.overflow<none>")},
            )
            ir.Operation.create("func.return", operands=total.results)
    assert module.operation.verify()
    assert total.result.type == i32 and total.location.line == 3
    assert "arith.addi %arg0, %arg0 : i32" in str(module)


def test_create_reports_bad_attributes_and_operands(context):
    with pytest.raises(ir.MLIRError, match="cannot create operation 'arith.cmpi'"):
        ir.Operation.create("arith.cmpi", attributes={"predicate": ir.StringAttr.get("eq")})
    add = ir.Operation.create("arith.addi", results=[ir.IndexType.get()])
    with pytest.raises(ir.MLIRError) as caught:
        add.verify()
    assert "expected 2 operands" in caught.value.error_diagnostics[0].message


def test_attributes_mapping(context):
    function = ir.Module.parse(ADD).body.operations[0]
    function.attributes["x"] = ir.UnitAttr.get()
    assert "x" in function.attributes and set(function.attributes) >= {"sym_name", "x"}
    assert function.attributes.get("y") is None
    # Inherent attributes are stored as properties; the mapping shows both.
    function.attributes["sym_name"] = ir.StringAttr.get("renamed")
    assert "@renamed" in str(function)
    del function.attributes["x"]
    with pytest.raises(KeyError):
        del function.attributes["x"]
    with pytest.raises(KeyError):
        function.attributes["x"]
    assert dict(function.attributes.items())["sym_name"].value == "renamed"


def test_values_and_uses(context):
    block = body_of(ir.Module.parse(ADD))
    add, multiply, _ = block.operations
    assert add.result.owner == add and add.result.result_number == 0
    argument = block.arguments[0]
    assert isinstance(argument, ir.BlockArgument) and argument.arg_number == 0 and argument.owner == block
    assert [use.owner for use in add.result.uses] == [multiply]
    assert add.result.get_name() == "%0" and argument.get_name() == "%arg0"
    add.result.replace_all_uses_with(argument)
    assert multiply.operands[0] == argument and len(multiply.operands) == 2
    multiply.operands[0] = block.arguments[1]
    assert multiply.operands[-2] == block.arguments[1]
    with pytest.raises(IndexError):
        multiply.operands[2]


def test_move_clone_detach_erase(context):
    module = ir.Module.parse(ADD + "func.func @empty() { return }")
    first, second = module.body.operations
    second.move_before(first)
    assert [op.attributes["sym_name"].value for op in module.body] == ["empty", "add"]
    second.move_after(first)
    copy = first.clone(ip=False)
    assert copy.parent is None and copy != first
    copy.attributes["sym_name"] = ir.StringAttr.get("copy")
    module.body.append(copy)
    assert copy.parent == module.operation
    copy.detach_from_parent()
    assert len(module.body.operations) == 2 and copy.parent is None
    ir.InsertionPoint.at_block_begin(module.body).insert(copy)
    copy.erase()
    with pytest.raises(RuntimeError, match="invalidated"):
        copy.name  # noqa: B018
    add = body_of(module).operations[0]
    with pytest.raises(ValueError, match="still has uses"):
        add.erase()


def test_an_operation_cannot_go_into_itself(context):
    function = ir.Module.parse(ADD).body.operations[0]
    with pytest.raises(ValueError, match="into itself"):
        function.regions[0].blocks[0].append(function)
    with pytest.raises(ValueError, match="into itself"):
        function.move_before(function.regions[0].blocks[0].operations[0])


def test_insertion_points(context):
    module = ir.Module.parse(ADD)
    block = body_of(module)
    constant = {"value": ir.Attribute.parse("1 : i32")}
    with ir.InsertionPoint.at_block_terminator(block):
        last = ir.Operation.create("arith.constant", results=[ir.Type.parse("i32")], attributes=constant)
    with ir.InsertionPoint(block.operations[0]):
        first = ir.Operation.create("arith.constant", results=[ir.Type.parse("i32")], attributes=constant)
    assert block.operations[0] == first and block.operations[-2] == last
    assert first.is_before_in_block(last) and block.terminator.name == "func.return"
    assert ir.InsertionPoint.current is None and ir.Context.current == context


def test_walk_order_skip_interrupt(context):
    module = ir.Module.parse(ADD)
    names = []
    module.operation.walk(lambda op: names.append(op.name))
    assert names == ["arith.addi", "arith.muli", "func.return", "func.func", "builtin.module"]
    names.clear()

    def stop_at_functions(op):
        names.append(op.name)
        return ir.WalkResult.SKIP if op.name == "func.func" else ir.WalkResult.ADVANCE

    module.operation.walk(stop_at_functions, ir.WalkOrder.PRE_ORDER)
    assert names == ["builtin.module", "func.func"]
    names.clear()
    module.operation.walk(lambda op: names.append(op.name) or ir.WalkResult.INTERRUPT)
    assert names == ["arith.addi"]
    with pytest.raises(ZeroDivisionError):
        module.operation.walk(lambda op: 1 / 0)


def test_walk_may_erase(context):
    module = ir.Module.parse("func.func private @a()\nfunc.func private @b()\nfunc.func private @c()")
    module.operation.walk(lambda op: op.erase() if op.name == "func.func" else None)
    assert module.body.operations == []


def test_symbol_table(context):
    module = ir.Module.parse(ADD)
    table = ir.SymbolTable(module.operation)
    assert "add" in table and "sub" not in table
    assert table["add"].name == "func.func"
    copy = table["add"].clone(ip=False)
    assert table.insert(copy).value != "add" and len(module.body.operations) == 2
    with pytest.raises(KeyError):
        table["sub"]


# ---- lifetimes ----


def test_parts_keep_the_module_alive():
    with ir.Context():
        block = body_of(ir.Module.parse(ADD))
    gc.collect()
    assert block.operations[1].name == "arith.muli"
    assert "arith.addi" in str(block.owner)


def test_erased_parts_raise(context):
    module = ir.Module.parse(ADD)
    function = module.body.operations[0]
    block = function.regions[0].blocks[0]
    operation, argument = block.operations[0], block.arguments[0]
    function.erase()
    for use in [
        lambda: operation.name,
        lambda: block.operations,
        lambda: argument.type,
        lambda: str(function),
        lambda: function.regions,
        lambda: ir.InsertionPoint(block),
    ]:
        with pytest.raises(RuntimeError, match="invalidated"):
            use()
    assert repr(function) == "<Operation: invalidated>"


def test_detached_operation_is_freed_with_its_uses(context):
    i32 = ir.IntegerType.get_signless(32)
    constant = ir.Operation.create(
        "arith.constant", results=[i32], attributes={"value": ir.Attribute.parse("1 : i32")}
    )
    add = ir.Operation.create("arith.addi", results=[i32], operands=[constant.result, constant.result])
    del constant
    gc.collect()
    with pytest.raises(ir.MLIRError):
        add.verify()


def test_with_blocks_must_nest():
    first, second = ir.Context(), ir.Context()
    first.__enter__()
    with pytest.raises(RuntimeError, match="reverse order"):
        second.__exit__(None, None, None)
    first.__exit__(None, None, None)
    assert ir.Context.current is None


# ---- threads ----


def run_threads(target, count=4):
    errors = []

    def guarded(index):
        try:
            target(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("shared", [False, True])
def test_parse_in_threads(shared):
    common = ir.Context()

    def work(index):
        with common if shared else ir.Context():
            assert ir.Location.current is None
            for i in range(20):
                module = ir.Module.parse(ADD.replace("@add", f"@f{index}_{i}"))
                assert module.body.operations[0].attributes["sym_name"].value == f"f{index}_{i}"
                with pytest.raises(ir.MLIRError) as caught:
                    ir.Module.parse(f"func.func @bad{index}")
                assert len(caught.value.error_diagnostics) == 1

    run_threads(work)
