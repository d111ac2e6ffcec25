//===- CreateOperation.cpp - Operation.create -----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Operations.h"

#include "mlir/Interfaces/InferTypeOpInterface.h"

using namespace mlir;
using namespace mlir::lumen::python;

/// Where a new operation goes: None means the current insertion point, False
/// means nowhere.
static const PyInsertionPoint *resolveInsertionPoint(nb::handle ip) {
  if (ip.is_none())
    return currentInsertionPoint();
  if (ip.ptr() == Py_False)
    return nullptr;
  return nb::cast<PyInsertionPoint *>(ip);
}

PyOperation mlir::lumen::python::place(const ContextRef &context, Operation *op,
                                       nb::handle ip) {
  PyOperation made{OpHandle::get(context, op)};
  if (const PyInsertionPoint *point = resolveInsertionPoint(ip))
    point->insert(made);
  return made;
}

/// Result types by the operation's own inference.
static void inferResults(OperationState &state, CaptureDiagnostics &capture) {
  auto *interface = state.name.getInterface<InferTypeOpInterface>();
  if (!interface)
    capture.fail("operation '" + state.name.getStringRef() +
                 "' cannot infer its result types");
  DictionaryAttr attributes =
      state.attributes.getDictionary(state.getContext());
  // The inference reads properties; a scratch operation holds them.
  OperationState scratch(state.location, state.name, {}, {},
                         state.attributes.getAttrs());
  Operation *holder = Operation::create(scratch);
  LogicalResult inferred = interface->inferReturnTypes(
      state.getContext(), state.location, state.operands, attributes,
      holder->getPropertiesStorage(), state.regions, state.types);
  holder->destroy();
  capture.check(inferred, "cannot infer the result types of '" +
                              state.name.getStringRef() + "'");
}

PyOperation mlir::lumen::python::createOperation(
    const std::string &name, std::optional<std::vector<PyType>> results,
    std::optional<std::vector<PyValue>> operands,
    std::optional<std::unordered_map<std::string, PyAttribute>> attributes,
    std::optional<std::vector<PyBlock>> successors, unsigned regions,
    std::optional<PyLocation> loc, nb::object ip, bool inferType) {
  const PyInsertionPoint *point = resolveInsertionPoint(ip);
  ContextRef context = loc ? loc->context
                       : !frames().empty() || !point
                           ? resolveContext(std::nullopt)
                           : point->block.context();
  Location location = resolveLocation(loc, context);
  CaptureDiagnostics capture(context);
  OperationState state(location, name);
  if (!state.name.isRegistered()) {
    context->context.getOrLoadDialect(StringRef(name).split('.').first);
    state.name = OperationName(name, &context->context);
    if (!state.name.isRegistered() &&
        !context->context.allowsUnregisteredDialects())
      capture.fail("operation '" + name +
                   "' is not known: its dialect is not registered or has "
                   "no such operation");
  }
  if (operands)
    for (const PyValue &operand : *operands) {
      checkSameContext(context, operand.context(), "operand");
      state.operands.push_back(operand.get());
    }
  if (results)
    state.addTypes(unwrapAll(context, *results, "result type"));
  if (attributes)
    for (const auto &[key, attribute] : *attributes) {
      checkSameContext(context, attribute.context, "attribute");
      state.addAttribute(key, attribute.value);
    }
  if (auto registered = state.name.getRegisteredInfo())
    capture.check(registered->verifyInherentAttrs(state.attributes,
                                                  emitErrorAt(location)),
                  "cannot create operation '" + name + "'");
  if (successors)
    for (const PyBlock &successor : *successors) {
      checkSameContext(context, successor.context(), "successor");
      state.addSuccessors(successor.get());
    }
  for (unsigned i = 0; i < regions; ++i)
    state.addRegion();
  if (inferType)
    inferResults(state, capture);
  return place(context, Operation::create(state), ip);
}
