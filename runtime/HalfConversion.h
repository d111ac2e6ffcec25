//===- HalfConversion.h - f16 and bf16 without hardware ---------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// The functions that generated code calls for CPUs without conversion
// instructions. libgcc has them only from some version on, and where depends on
// the system; the JIT finds these first.
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_HALFCONVERSION_H
#define LUMEN_RUNTIME_HALFCONVERSION_H

#include <cstdint>
#include <utility>
#include <vector>

namespace mlir::lumen {

/// Bits of an f16 to the f32 of the same value.
float extendHalf(uint16_t bits);
/// Round to nearest, ties to even.
uint16_t truncateToHalf(float value);
uint16_t truncateToHalf(double value);
uint16_t truncateToBFloat(float value);

/// The names that the compiler calls, with their addresses; none where the
/// architecture never needs them.
std::vector<std::pair<const char *, void *>> getHalfConversionSymbols();

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_HALFCONVERSION_H
