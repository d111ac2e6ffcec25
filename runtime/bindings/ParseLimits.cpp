//===- ParseLimits.cpp - How deep and large text may be -------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/ParseLimits.h"

#include "mlir/IR/Operation.h"
#include "llvm/ADT/DenseMap.h"

using namespace mlir;
using namespace mlir::lumen::python;

static constexpr uint64_t kMostNesting = 512;

/// Parts of all attributes and types of a module as its text has them.
static constexpr uint64_t kMostParts = uint64_t(1) << 24;

std::string mlir::lumen::python::checkNesting(StringRef text) {
  // Angles also stand in arrows and comparisons, so each kind counts its own.
  static constexpr StringLiteral kOpen = "([{<", kClose = ")]}>";
  uint64_t depths[4] = {};
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '"') {
      for (++i; i < text.size() && text[i] != '"' && text[i] != '\n'; ++i)
        i += text[i] == '\\';
    } else if (text.substr(i).starts_with("//")) {
      i = std::min(text.find('\n', i), text.size());
    } else if (text.substr(i).starts_with("->") ||
               text.substr(i).starts_with(">=") ||
               text.substr(i).starts_with("<=")) {
      ++i;
    } else if (size_t kind = kOpen.find(c); kind != StringRef::npos) {
      ++depths[kind];
      if (depths[0] + depths[1] + depths[2] + depths[3] > kMostNesting)
        return "brackets are nested more than " + std::to_string(kMostNesting) +
               " deep at line " +
               std::to_string(text.take_front(i).count('\n') + 1);
    } else if (size_t kind = kClose.find(c);
               kind != StringRef::npos && depths[kind]) {
      --depths[kind];
    }
  }
  return {};
}

namespace {
/// How many parts attributes and types have, and how deep they are nested.
class Expansion {
public:
  struct Size {
    uint64_t parts = 1, depth = 1;
  };

  template <typename T> Size measure(T value) {
    if (!value)
      return {};
    const void *key = value.getAsOpaquePointer();
    if (auto found = sizes.find(key); found != sizes.end())
      return found->second;
    sizes[key] = {}; // of what holds itself
    Size size;
    auto add = [&](auto part) {
      Size inner = measure(part);
      size.parts = std::min(size.parts + inner.parts, kMostParts + 1);
      size.depth = std::max(size.depth, inner.depth + 1);
    };
    value.walkImmediateSubElements([&](Attribute part) { add(part); },
                                   [&](Type part) { add(part); });
    return sizes[key] = size;
  }

private:
  llvm::DenseMap<const void *, Size> sizes;
};
} // namespace

std::string mlir::lumen::python::checkExpansion(Operation *root) {
  Expansion expansion;
  uint64_t parts = 0;
  std::string problem;
  auto add = [&](auto value) {
    auto size = expansion.measure(value);
    parts += size.parts;
    if (size.depth > kMostNesting)
      problem = "attributes or types are nested more than " +
                std::to_string(kMostNesting) + " deep";
    else if (parts > kMostParts)
      problem = "attributes and types have more than " +
                std::to_string(kMostParts) + " parts";
  };
  root->walk([&](Operation *op) {
    add(Attribute(op->getAttrDictionary()));
    add(Attribute(LocationAttr(op->getLoc())));
    for (Type type : op->getResultTypes())
      add(type);
    for (Region &region : op->getRegions())
      for (Block &block : region)
        for (Type type : block.getArgumentTypes())
          add(type);
    return problem.empty() ? WalkResult::advance() : WalkResult::interrupt();
  });
  return problem;
}
