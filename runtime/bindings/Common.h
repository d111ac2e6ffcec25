//===- Common.h - Shared by the binding files -------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_BINDINGS_COMMON_H
#define LUMEN_RUNTIME_BINDINGS_COMMON_H

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/operators.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/function.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/unordered_map.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"

#include <string>
#include <string_view>

namespace nb = nanobind;

namespace mlir::lumen::python {

// One function per file, called in this order by the module's initializer.
void bindDiagnostics(nb::module_ &m);
void bindContext(nb::module_ &m);
void bindTypes(nb::module_ &m);
void bindAttributes(nb::module_ &m);
void bindDenseElements(nb::module_ &m);
void bindOperationContainers(nb::module_ &m);
void bindOperations(nb::module_ &m);
void bindModule(nb::module_ &m);
void bindBlocks(nb::module_ &m);
void bindPassManager(nb::module_ &m);
void bindCodeGen(nb::module_ &m);
void bindThreadTeam(nb::module_ &m);
void bindMemory(nb::module_ &m);
void bindOpt(nb::module_ &m);
void bindLayout(nb::module_ &m);
void bindSampling(nb::module_ &m);

inline llvm::StringRef toRef(std::string_view text) {
  return {text.data(), text.size()};
}

/// What `print(stream)` writes.
template <typename Print> std::string printed(Print print) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  print(stream);
  return text;
}

/// What `object.print(stream)` writes.
template <typename T> std::string printedForm(const T &object) {
  return printed([&](llvm::raw_ostream &os) { object.print(os); });
}

/// A Python index, negative ones counted from the end; throws IndexError.
inline size_t checkedIndex(int64_t index, size_t size) {
  int64_t wrapped = index < 0 ? index + int64_t(size) : index;
  if (wrapped < 0 || wrapped >= int64_t(size))
    throw nb::index_error(
        ("index " + std::to_string(index) + " of " + std::to_string(size))
            .c_str());
  return wrapped;
}

} // namespace mlir::lumen::python

#endif // LUMEN_RUNTIME_BINDINGS_COMMON_H
