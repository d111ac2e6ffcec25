//===- CpuFeatures.cpp - Whether this CPU can run compiled code -----------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/embed/CpuFeatures.h"

#include "runtime/embed/TileState.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

using namespace mlir::lumen;

#if defined(__x86_64__)

namespace {
enum Register { eax, ebx, ecx, edx };

/// What the system must save of a thread for a feature to be usable: bits of
/// the register XCR0.
enum State : uint64_t { none = 0, avx = 0x6, avx512 = 0xe6, tiles = 0x60000 };

struct Feature {
  const char *name;
  uint32_t leaf;
  uint32_t subleaf;
  Register where;
  unsigned bit;
  State state;
};
} // namespace

/// Those that targets need.
static constexpr Feature kFeatures[] = {
    {"sse3", 1, 0, ecx, 0, none},
    {"ssse3", 1, 0, ecx, 9, none},
    {"fma", 1, 0, ecx, 12, avx},
    {"cx16", 1, 0, ecx, 13, none},
    {"sse4.1", 1, 0, ecx, 19, none},
    {"sse4.2", 1, 0, ecx, 20, none},
    {"movbe", 1, 0, ecx, 22, none},
    {"popcnt", 1, 0, ecx, 23, none},
    {"avx", 1, 0, ecx, 28, avx},
    {"f16c", 1, 0, ecx, 29, avx},
    {"sahf", 0x80000001, 0, ecx, 0, none},
    {"lzcnt", 0x80000001, 0, ecx, 5, none},
    {"bmi", 7, 0, ebx, 3, none},
    {"avx2", 7, 0, ebx, 5, avx},
    {"bmi2", 7, 0, ebx, 8, none},
    {"avx512f", 7, 0, ebx, 16, avx512},
    {"avx512dq", 7, 0, ebx, 17, avx512},
    {"avx512ifma", 7, 0, ebx, 21, avx512},
    {"avx512cd", 7, 0, ebx, 28, avx512},
    {"avx512bw", 7, 0, ebx, 30, avx512},
    {"avx512vl", 7, 0, ebx, 31, avx512},
    {"avx512vbmi", 7, 0, ecx, 1, avx512},
    {"avx512vbmi2", 7, 0, ecx, 6, avx512},
    {"avx512vnni", 7, 0, ecx, 11, avx512},
    {"avx512bitalg", 7, 0, ecx, 12, avx512},
    {"avx512vpopcntdq", 7, 0, ecx, 14, avx512},
    {"amx-bf16", 7, 0, edx, 22, tiles},
    {"avx512fp16", 7, 0, edx, 23, avx512},
    {"amx-tile", 7, 0, edx, 24, tiles},
    {"amx-int8", 7, 0, edx, 25, tiles},
    {"avxvnni", 7, 1, eax, 4, avx},
    {"avx512bf16", 7, 1, eax, 5, avx512},
};

/// What the system saves of a thread.
static uint64_t readState() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned xsaveInUse = 1u << 27;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & xsaveInUse))
    return 0;
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

const char *mlir::lumen::getArchitecture() { return "x86_64"; }

bool mlir::lumen::hasFeature(const std::string &name) {
  for (const Feature &feature : kFeatures) {
    if (name != feature.name)
      continue;
    unsigned words[4] = {};
    if (!__get_cpuid_count(feature.leaf, feature.subleaf, &words[eax],
                           &words[ebx], &words[ecx], &words[edx]))
      return false;
    return (words[feature.where] >> feature.bit & 1) &&
           (readState() & feature.state) == feature.state &&
           (feature.state != tiles || askForTileState());
  }
  return false;
}

#elif defined(__aarch64__)

namespace {
struct Feature {
  const char *name;
  unsigned long kind;
  unsigned bit;
};
} // namespace

/// Bits of Linux's hardware capabilities (Documentation/arch/arm64/
/// elf_hwcaps.rst): numbers, because older systems' headers lack the later
/// names.
static constexpr Feature kFeatures[] = {
    {"fp-armv8", AT_HWCAP, 0},  {"neon", AT_HWCAP, 1},
    {"aes", AT_HWCAP, 3},       {"sha2", AT_HWCAP, 6},
    {"crc", AT_HWCAP, 7},       {"lse", AT_HWCAP, 8},
    {"fullfp16", AT_HWCAP, 10}, {"rdm", AT_HWCAP, 12},
    {"dotprod", AT_HWCAP, 20},  {"sve", AT_HWCAP, 22},
    {"fp16fml", AT_HWCAP, 23},  {"sve2", AT_HWCAP2, 1},
    {"i8mm", AT_HWCAP2, 13},    {"bf16", AT_HWCAP2, 14},
};

const char *mlir::lumen::getArchitecture() { return "aarch64"; }

bool mlir::lumen::hasFeature(const std::string &name) {
  for (const Feature &feature : kFeatures)
    if (name == feature.name)
      return getauxval(feature.kind) >> feature.bit & 1;
  return false;
}

#else

const char *mlir::lumen::getArchitecture() { return "unknown"; }

bool mlir::lumen::hasFeature(const std::string &) { return false; }

std::vector<std::string> mlir::lumen::getFeatures() { return {}; }

#endif

#if defined(__x86_64__) || defined(__aarch64__)
std::vector<std::string> mlir::lumen::getFeatures() {
  std::vector<std::string> names;
  for (const Feature &feature : kFeatures)
    if (hasFeature(feature.name))
      names.push_back(feature.name);
  return names;
}
#endif
