//===- StopFilter.h - Ends a text before given strings -------- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_LUMENRUN_STOPFILTER_H
#define LUMEN_RUNTIME_LUMENRUN_STOPFILTER_H

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace lumen::run {

/// Ends a text before the first of several strings, which may arrive in pieces
/// of whole characters.
///
/// Control tokens that are not shown are pieces too: a string may have them in
/// it, and may also be found in what is shown, across them. Text that may turn
/// out to begin a string is held back until that is decided.
class StopFilter {
public:
  explicit StopFilter(const std::vector<std::string> &stops) : stops(stops) {}

  bool empty() const { return stops.empty(); }
  /// A string was found: the text is at its end.
  bool found() const { return ended; }

  /// What may be shown now; nothing more once a string was found.
  std::string feed(std::string_view text, bool hidden = false);
  /// What was held back, at the end of the text.
  std::string finish();

private:
  std::string release(size_t end);

  const std::vector<std::string> &stops;
  bool ended = false;
  /// What is held back, with and without hidden pieces.
  std::string whole, shown;
  /// Where in the whole each byte of what is shown is.
  std::vector<size_t> places;
};

} // namespace lumen::run

#endif // LUMEN_RUNTIME_LUMENRUN_STOPFILTER_H
