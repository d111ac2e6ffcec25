//===- stop_filter.cpp - Feeds pieces of text to a StopFilter -------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// Reads lines: "stop TEXT" adds a string, "shown TEXT" and "hidden TEXT" feed a
// piece, "end" ends the text. Answers each piece and each end by a line with
// what may be shown.
//
//===----------------------------------------------------------------------===//

#include "runtime/lumen-run/StopFilter.h"

#include <iostream>
#include <memory>

int main() {
  std::vector<std::string> stops;
  std::unique_ptr<lumen::run::StopFilter> filter;
  for (std::string line; std::getline(std::cin, line);) {
    std::string word = line.substr(0, line.find(' '));
    std::string text = line.substr(std::min(line.size(), word.size() + 1));
    if (word == "stop") {
      stops.push_back(text);
      continue;
    }
    if (!filter)
      filter = std::make_unique<lumen::run::StopFilter>(stops);
    if (word != "end") {
      std::cout << filter->feed(text, word == "hidden") << "\n";
      continue;
    }
    std::cout << filter->finish() << "\n";
    filter.reset();
    stops.clear();
  }
}
