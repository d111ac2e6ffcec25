//===- Streams.cpp - What is written to people and programs ---------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "Streams.h"
#include "Options.h"

#include <cerrno>
#include <cstring>
#include <unistd.h>

using namespace lumen::run;

std::string lumen::run::visible(std::string_view text, bool lines) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned char byte = static_cast<unsigned char>(text[i]);
    bool control = byte < ' ' || byte == 0x7F;
    if (lines && (byte == '\n' || byte == '\t'))
      control = false;
    // U+0080 to U+009F.
    bool second = byte == 0xC2 && i + 1 < text.size() &&
                  static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (second)
      byte = static_cast<unsigned char>(text[++i]);
    if (!control && !second) {
      result += text[i];
      continue;
    }
    char written[8];
    std::snprintf(written, sizeof(written), "\\x%02x", byte);
    result += written;
  }
  return result;
}

void lumen::run::tell(const std::string &text) {
  std::fprintf(stderr, "lumen-run: %s\n", visible(text, false).c_str());
}

Output::Output() : terminal(isatty(STDOUT_FILENO)) {}

void Output::write(std::string_view text) {
  if (text.empty())
    return;
  last = text.back();
  std::string shown;
  if (terminal) {
    shown = visible(text, true);
    text = shown;
  }
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() ||
      std::fflush(stdout) != 0)
    throw Failure{std::string("standard output cannot be written: ") +
                  std::strerror(errno)};
}

void Output::endLine() {
  if (last != '\n')
    write("\n");
}
