//===- TeamSize.h - How many workers of a team take part --------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// Workers meet at barriers, so all of them wait for one whose processor another
// program has. Beside programs that keep k of n processors busy, n - k workers
// are faster than n. Nobody says how large k is: it is learned from the time
// that such waits take.
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_TEAMSIZE_H
#define LUMEN_RUNTIME_TEAMSIZE_H

#include <chrono>

namespace mlir::lumen {

/// Chooses a number of workers between 1 and the largest.
class TeamSize {
public:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;
  using Duration = Clock::duration;

  explicit TeamSize(unsigned largest) : largest(largest), size(largest) {}

  /// The number of workers now.
  unsigned get() const { return size; }

  /// A run begins: it may be time to try more workers.
  void begin(Time now);
  /// All have waited for a worker without a processor. May lower the number.
  void lose(Duration time, Time now);
  /// The run ends.
  void end(Time now);

private:
  void account(Duration lost, Time now);
  void shrink(Time now);

  static constexpr std::chrono::milliseconds shortestPause{20};
  static constexpr std::chrono::milliseconds longestPause{1000};

  unsigned largest;
  unsigned size;
  /// Time that fewer workers would have saved, as it seems.
  Duration regret{};
  /// What came after that is not in it yet.
  Time accounted;

  /// More workers are tried when the pause is over: one more, then, as long as
  /// that goes well, twice as many. Where it does not, the next pause is
  /// longer.
  Duration pause = shortestPause;
  Time pauseEnd;
  unsigned step = 1;
  /// During a trial: the number before it, and how long it has gone well.
  unsigned proven = 0;
  Duration tried{};
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_TEAMSIZE_H
