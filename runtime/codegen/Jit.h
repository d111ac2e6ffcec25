//===- Jit.h - Object files loaded into this process ------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_CODEGEN_JIT_H
#define LUMEN_RUNTIME_CODEGEN_JIT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

#include <memory>
#include <string>

namespace llvm::orc {
class LLJIT;
} // namespace llvm::orc

namespace mlir::lumen {

/// Object files whose code can be called. They may refer to each other, to
/// lumen_claim, lumen_barrier, lumen_clock, the f16 conversions of
/// HalfConversion.h, what LLVM calls to copy and set memory, the functions of
/// the math library, and to `libraries`. The code is unloaded with this object.
class LoadedObject {
public:
  struct Options {
    std::vector<std::string> libraries;
    /// Adds the functions to /tmp/perf-PID.map, where `perf report` looks.
    bool perfMap = false;
  };

  static llvm::Expected<std::unique_ptr<LoadedObject>>
  load(llvm::ArrayRef<llvm::StringRef> objects, const Options &options);
  ~LoadedObject();

  /// The address of a symbol; links what it needs at the first call.
  llvm::Expected<uint64_t> lookup(llvm::StringRef name);

private:
  LoadedObject();
  /// Adds what the session reported to an error.
  llvm::Error explain(llvm::Error error);

  std::string reported;
  std::unique_ptr<llvm::orc::LLJIT> jit;
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_CODEGEN_JIT_H
