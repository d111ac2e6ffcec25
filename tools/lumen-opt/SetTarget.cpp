//===- SetTarget.cpp - The option --target of lumen-opt -------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// The table of targets is written in Python (lumen_mlir/compiler/targets.py).
// The build writes it down for this file (targets.py).
//
//===----------------------------------------------------------------------===//

#include "tools/lumen-opt/SetTarget.h"

#include "dialect/LumenDialect.h"
#include "runtime/codegen/HostFeatures.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/Triple.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// A row of the table. `needs` and `slowOn` are LLVM's names of features.
struct TargetRow {
  StringRef name, triple, needs, slowOn, attribute;
};

#define TARGET(name, triple, needs, slowOn, attribute)                         \
  {name, triple, needs, slowOn, attribute},
const TargetRow kTargets[] = {
#include "tools/lumen-opt/Targets.inc"
};

/// Whether this machine runs the code of a target, and runs it fast.
bool isNative(const TargetRow &row, const llvm::StringMap<bool> &features) {
  llvm::Triple host(llvm::sys::getDefaultTargetTriple());
  if (!row.triple.empty() &&
      llvm::Triple(row.triple).getArch() != host.getArch())
    return false;
  auto hasFeature = [&](StringRef name) { return features.lookup(name); };
  SmallVector<StringRef> needs, slowOn;
  row.needs.split(needs, ',', -1, /*KeepEmpty=*/false);
  row.slowOn.split(slowOn, ',', -1, /*KeepEmpty=*/false);
  return llvm::all_of(needs, hasFeature) && llvm::none_of(slowOn, hasFeature);
}

/// The row of this name; `v3` is short for `x86-64-v3`.
const TargetRow *findTarget(StringRef name) {
  llvm::StringMap<bool> features;
  if (name == "native")
    features = getHostFeatures();
  const auto *found = llvm::find_if(kTargets, [&](const TargetRow &row) {
    StringRef shortName = row.name;
    shortName.consume_front("x86-64-");
    return name == "native" ? isNative(row, features)
                            : name == row.name || name == shortName;
  });
  return found == std::end(kTargets) ? nullptr : found;
}

struct SetTargetPass : PassWrapper<SetTargetPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(SetTargetPass)

  SetTargetPass() = default;
  SetTargetPass(const SetTargetPass &other) : PassWrapper(other) {}

  StringRef getArgument() const override { return "lumen-set-target"; }
  StringRef getDescription() const override {
    return "give the module the attribute lumen.target; the option --target "
           "is short for it";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<LumenDialect>();
  }

  void runOnOperation() override {
    const TargetRow *row = findTarget(name);
    if (!row) {
      getOperation().emitError()
          << "unknown target '" << name << "'; there are native, "
          << llvm::join(llvm::map_range(kTargets,
                                        [](const TargetRow &each) {
                                          return each.name.str();
                                        }),
                        ", ");
      return signalPassFailure();
    }
    Attribute attribute = parseAttribute(row->attribute, &getContext());
    if (!attribute)
      return signalPassFailure();
    getOperation()->setAttr(LumenDialect::kTargetAttr, attribute);
  }

  Option<std::string> name{*this, "name", llvm::cl::init("native"),
                           llvm::cl::desc("A target, or native")};
};

} // namespace

void lumen::registerSetTarget() { PassRegistration<SetTargetPass>(); }

std::vector<std::string>
lumen::replaceTargetOption(std::vector<std::string> arguments) {
  std::string name;
  for (size_t i = 1; i < arguments.size(); ++i) {
    StringRef argument = StringRef(arguments[i]).ltrim('-');
    if (!StringRef(arguments[i]).starts_with("-") ||
        !argument.consume_front("target") ||
        !(argument.empty() || argument.starts_with("=")))
      continue;
    bool isNext = argument.empty() && i + 1 < arguments.size();
    name = isNext ? arguments[i + 1]
                  : argument.drop_front(!argument.empty()).str();
    arguments.erase(arguments.begin() + i, arguments.begin() + i + 1 + isNext);
    --i;
  }
  if (name.empty())
    return arguments;
  // A pipeline that is written out begins with it.
  for (std::string &argument : arguments) {
    size_t start = argument.find("builtin.module(");
    if (!StringRef(argument).ltrim('-').starts_with("pass-pipeline=") ||
        start == std::string::npos)
      continue;
    start += StringRef("builtin.module(").size();
    bool isEmpty = argument[start] == ')';
    argument.insert(start, "lumen-set-target{name=" + name + "}" +
                               (isEmpty ? "" : ","));
    return arguments;
  }
  arguments.insert(arguments.begin() + 1, "--lumen-set-target=name=" + name);
  return arguments;
}
