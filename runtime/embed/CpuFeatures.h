//===- CpuFeatures.h - Whether this CPU can run compiled code ---*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_EMBED_CPUFEATURES_H
#define LUMEN_RUNTIME_EMBED_CPUFEATURES_H

#include <string>
#include <vector>

namespace mlir::lumen {

/// The architecture that this library is compiled for, by LLVM's name.
const char *getArchitecture();

/// Whether the CPU has a feature, by LLVM's name, and the system lets programs
/// use it. A name that is not known here counts as missing.
bool hasFeature(const std::string &name);

/// The names of all features that are known here and that the CPU has.
std::vector<std::string> getFeatures();

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_EMBED_CPUFEATURES_H
