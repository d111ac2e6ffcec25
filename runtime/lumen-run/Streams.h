//===- Streams.h - What is written to people and programs ----- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_LUMENRUN_STREAMS_H
#define LUMEN_RUNTIME_LUMENRUN_STREAMS_H

#include <cstdio>
#include <string>
#include <string_view>

namespace lumen::run {

/// `text` with control characters as \x1b: names and texts of files must not
/// steer a terminal. Newlines and tabs stay where they are allowed.
std::string visible(std::string_view text, bool lines);

/// One line on stderr.
void tell(const std::string &text);

/// Writes text to stdout at once. Throws a Failure where that is full or
/// closed.
class Output {
public:
  Output();
  void write(std::string_view text);
  /// The next write begins a line.
  bool atLineStart() const { return last == '\n' || last == 0; }
  /// Ends the last line, if the text has not.
  void endLine();

private:
  bool terminal;
  char last = 0;
};

} // namespace lumen::run

#endif // LUMEN_RUNTIME_LUMENRUN_STREAMS_H
