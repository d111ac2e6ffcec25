//===- StopFilter.cpp - Ends a text before given strings ------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "StopFilter.h"

#include <algorithm>

using namespace lumen::run;

/// Bytes of the longest end of `text` that `stop` begins with.
static size_t overlap(std::string_view text, std::string_view stop) {
  size_t size = std::min(text.size(), stop.size() - 1);
  while (text.substr(text.size() - size) != stop.substr(0, size))
    --size;
  return size;
}

std::string StopFilter::feed(std::string_view text, bool hidden) {
  if (ended)
    return {};
  if (empty())
    return std::string(hidden ? std::string_view() : text);
  if (!hidden) {
    for (size_t i = 0; i < text.size(); ++i)
      places.push_back(whole.size() + i);
    shown += text;
  }
  whole += text;
  // Bytes are compared: a character of UTF-8 never begins inside another one.
  size_t begin = std::string::npos, keep = 0, keepShown = 0;
  for (const std::string &stop : stops) {
    begin = std::min(begin, whole.find(stop));
    if (size_t place = shown.find(stop); place != std::string::npos)
      begin = std::min(begin, places[place]);
    keep = std::max(keep, overlap(whole, stop));
    keepShown = std::max(keepShown, overlap(shown, stop));
  }
  ended = begin != std::string::npos;
  if (ended)
    return release(begin);
  size_t end = whole.size() - keep;
  if (keepShown)
    end = std::min(end, places[places.size() - keepShown]);
  return release(end);
}

std::string StopFilter::finish() {
  return ended ? std::string() : release(whole.size());
}

/// Takes the text before place `end` out of what is held back; what is shown of
/// it.
std::string StopFilter::release(size_t end) {
  auto last = std::lower_bound(places.begin(), places.end(), end);
  size_t count = size_t(last - places.begin());
  std::string released = shown.substr(0, count);
  shown.erase(0, count);
  whole.erase(0, end);
  places.erase(places.begin(), last);
  for (size_t &place : places)
    place -= end;
  return released;
}
