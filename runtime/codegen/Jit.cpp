//===- Jit.cpp - Object files loaded into this process --------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/codegen/Jit.h"

#include "runtime/HalfConversion.h"
#include "runtime/ThreadTeam.h"
#include "runtime/codegen/Backends.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ExecutionEngine/JITLink/JITLink.h"
#include "llvm/ExecutionEngine/Orc/AbsoluteSymbols.h"
#include "llvm/ExecutionEngine/Orc/ExecutionUtils.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/ExecutionEngine/Orc/ObjectLinkingLayer.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Process.h"

#include <chrono>
#include <cstring>

using namespace mlir::lumen;
using namespace llvm;
using namespace llvm::orc;

namespace {
/// Writes the addresses of linked functions in the format of Linux's perf.
class PerfMap : public ObjectLinkingLayer::Plugin {
public:
  void modifyPassConfig(MaterializationResponsibility &, jitlink::LinkGraph &,
                        jitlink::PassConfiguration &config) override {
    config.PostFixupPasses.push_back(write);
  }
  Error notifyFailed(MaterializationResponsibility &) override {
    return Error::success();
  }
  Error notifyRemovingResources(JITDylib &, ResourceKey) override {
    return Error::success();
  }
  void notifyTransferringResources(JITDylib &, ResourceKey,
                                   ResourceKey) override {}

private:
  static Error write(jitlink::LinkGraph &graph) {
    std::error_code error;
    std::string path =
        "/tmp/perf-" + std::to_string(sys::Process::getProcessId()) + ".map";
    raw_fd_ostream stream(path, error, sys::fs::OF_Append);
    if (error)
      return createStringError("cannot write " + path + ": " + error.message());
    for (jitlink::Symbol *symbol : graph.defined_symbols())
      if (symbol->hasName() && symbol->isCallable())
        stream << format_hex_no_prefix(symbol->getAddress().getValue(), 1)
               << ' ' << format_hex_no_prefix(symbol->getSize(), 1) << ' '
               << *symbol->getName() << '\n';
    return Error::success();
  }
};
} // namespace

/// Nanoseconds since some moment, for code that measures itself.
static int64_t readClock() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch())
      .count();
}

/// The functions of the math library that operations stand for, without the f
/// of float32. Not what else the library and those that it needs define: code
/// that somebody else wrote reaches no file and no process by name.
static constexpr StringLiteral kMathFunctions[] = {
    "acos",  "acosh", "asin",     "asinh",     "atan",   "atan2",   "atanh",
    "cbrt",  "ceil",  "copysign", "cos",       "cosh",   "erf",     "erfc",
    "exp",   "exp10", "exp2",     "expm1",     "fabs",   "floor",   "fma",
    "fmax",  "fmin",  "fmod",     "frexp",     "ldexp",  "llround", "log",
    "log10", "log1p", "log2",     "lrint",     "lround", "modf",    "nearbyint",
    "pow",   "rint",  "round",    "roundeven", "sin",    "sincos",  "sinh",
    "sqrt",  "tan",   "tanh",     "trunc"};

static bool isMathFunction(StringRef name) {
  if (llvm::is_contained(kMathFunctions, name))
    return true;
  return name.consume_back("f") && llvm::is_contained(kMathFunctions, name);
}

/// What generated code may call: ours first, then the libraries.
static Error defineSymbols(LLJIT &jit, const LoadedObject::Options &options) {
  JITDylib &main = jit.getMainJITDylib();
  SymbolMap symbols;
  auto define = [&](const char *name, void *address) {
    symbols[jit.mangleAndIntern(name)] = {ExecutorAddr::fromPtr(address),
                                          JITSymbolFlags::Exported};
  };
  define("lumen_barrier", reinterpret_cast<void *>(&lumen_barrier));
  define("lumen_claim", reinterpret_cast<void *>(&lumen_claim));
  define("lumen_clock", reinterpret_cast<void *>(&readClock));
  for (auto [name, address] : getHalfConversionSymbols())
    define(name, address);
  // What LLVM makes calls of by itself.
  define("memcpy", reinterpret_cast<void *>(&memcpy));
  define("memmove", reinterpret_cast<void *>(&memmove));
  define("memset", reinterpret_cast<void *>(&memset));
  define("memcmp", reinterpret_cast<void *>(&memcmp));
  if (Error error = main.define(absoluteSymbols(std::move(symbols))))
    return error;
  auto addLibrary =
      [&](const char *name,
          DynamicLibrarySearchGenerator::SymbolPredicate allow) -> Error {
    auto generator = DynamicLibrarySearchGenerator::Load(
        name, jit.getDataLayout().getGlobalPrefix(), std::move(allow));
    if (!generator)
      return generator.takeError();
    main.addGenerator(std::move(*generator));
    return Error::success();
  };
  for (const std::string &library : options.libraries)
    if (Error error = addLibrary(library.c_str(), {}))
      return error;
  return addLibrary("libm.so.6", [](const SymbolStringPtr &name) {
    return isMathFunction(*name);
  });
}

LoadedObject::LoadedObject() = default;
LoadedObject::~LoadedObject() = default;

Error LoadedObject::explain(Error error) {
  std::string message = toString(std::move(error));
  if (!reported.empty())
    message = std::exchange(reported, {});
  return createStringError(message);
}

Expected<std::unique_ptr<LoadedObject>>
LoadedObject::load(ArrayRef<StringRef> objects, const Options &options) {
  initializeNativeBackend();
  LLJITBuilder builder;
  // Generated code has neither static constructors nor exceptions.
  builder.setPlatformSetUp(setUpInactivePlatform);
  builder.setLinkProcessSymbolsByDefault(false);
  builder.setObjectLinkingLayerCreator(
      [&](ExecutionSession &session) -> Expected<std::unique_ptr<ObjectLayer>> {
        auto layer = std::make_unique<ObjectLinkingLayer>(session);
        if (options.perfMap)
          layer->addPlugin(std::make_shared<PerfMap>());
        return layer;
      });
  auto jit = builder.create();
  if (!jit)
    return jit.takeError();

  std::unique_ptr<LoadedObject> loaded(new LoadedObject());
  loaded->jit = std::move(*jit);
  loaded->jit->getExecutionSession().setErrorReporter(
      [object = loaded.get()](Error error) {
        if (!object->reported.empty())
          object->reported += "; ";
        object->reported += toString(std::move(error));
      });
  if (Error error = defineSymbols(*loaded->jit, options))
    return loaded->explain(std::move(error));
  for (StringRef object : objects) {
    auto buffer = MemoryBuffer::getMemBufferCopy(object, "lumen.o");
    if (Error error = loaded->jit->addObjectFile(std::move(buffer)))
      return loaded->explain(std::move(error));
  }
  return loaded;
}

Expected<uint64_t> LoadedObject::lookup(StringRef name) {
  auto address = jit->lookup(name);
  if (!address)
    return createStringError("cannot link '" + name +
                             "': " + toString(explain(address.takeError())));
  return address->getValue();
}
