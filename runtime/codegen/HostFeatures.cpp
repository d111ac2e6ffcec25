//===- HostFeatures.cpp - What this machine's CPU has ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/codegen/HostFeatures.h"

#include "runtime/embed/TileState.h"

#include "llvm/TargetParser/Host.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

using namespace mlir;
using llvm::StringRef;

namespace {
/// A feature as LLVM, Linux and macOS name it: the bit in the first or second
/// word (the numbers are part of Linux's interface), and the end of
/// "hw.optional.arm.…".
struct ArmFeature {
  StringRef name;
  unsigned word, bit;
  const char *apple;
};
} // namespace

static constexpr ArmFeature kArmFeatures[] = {
    {"fp-armv8", 0, 0, "FEAT_AdvSIMD"}, {"neon", 0, 1, "FEAT_AdvSIMD"},
    {"fullfp16", 0, 10, "FEAT_FP16"},   {"dotprod", 0, 20, "FEAT_DotProd"},
    {"sve", 0, 22, "FEAT_SVE"},         {"sve2", 1, 1, "FEAT_SVE2"},
    {"i8mm", 1, 13, "FEAT_I8MM"},       {"bf16", 1, 14, "FEAT_BF16"},
};

llvm::SmallVector<StringRef> lumen::readArmFeatures(uint64_t hwcap,
                                                    uint64_t hwcap2) {
  llvm::SmallVector<StringRef> found;
  for (const ArmFeature &feature : kArmFeatures)
    if ((feature.word ? hwcap2 : hwcap) >> feature.bit & 1)
      found.push_back(feature.name);
  return found;
}

llvm::StringMap<bool> lumen::getHostFeatures() {
  llvm::StringMap<bool> features = llvm::sys::getHostCPUFeatures();
  if (features.lookup("amx-tile") && !askForTileState())
    for (auto &feature : features)
      if (feature.first().starts_with("amx-"))
        feature.second = false;
#if defined(__aarch64__) && defined(__linux__)
  for (StringRef name :
       readArmFeatures(getauxval(AT_HWCAP), getauxval(AT_HWCAP2)))
    features[name] = true;
#elif defined(__aarch64__) && defined(__APPLE__)
  // Every such machine has these, the first ones without saying so.
  features["fp-armv8"] = features["neon"] = true;
  for (const ArmFeature &feature : kArmFeatures) {
    int value = 0;
    size_t size = sizeof value;
    std::string name = std::string("hw.optional.arm.") + feature.apple;
    if (!sysctlbyname(name.c_str(), &value, &size, nullptr, 0) && value)
      features[feature.name] = true;
  }
#endif
  return features;
}
