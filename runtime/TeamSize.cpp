//===- TeamSize.cpp - How many workers of a team take part ----------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/TeamSize.h"

#include <algorithm>

using namespace mlir::lumen;
using namespace std::chrono_literals;

/// So much regret makes a team smaller: about what two turns of another program
/// on a processor cost, so that a single one changes nothing.
static constexpr auto patience = 2ms;
/// Amid a run it takes more: whoever leaves comes back with the next run only,
/// and a long one (a prompt) would go on without it.
static constexpr auto patienceAmidRun = 20ms;
/// A trial has gone well after so much time in runs, some turns of another
/// program.
static constexpr auto trialTime = 20ms;

void TeamSize::begin(Time now) {
  if (regret > patience)
    shrink(now);
  if (size < largest) {
    if (now - accounted > longestPause) {
      // What was known then may be wrong now.
      *this = TeamSize(largest);
    } else if (!proven && now >= pauseEnd) {
      proven = size;
      size = std::min(largest, size + step);
      regret = patience / 2;
      tried = {};
    }
  }
  accounted = now;
}

void TeamSize::lose(Duration time, Time now) {
  account(time, now);
  if (regret > patienceAmidRun)
    shrink(now);
}

void TeamSize::end(Time now) {
  account({}, now);
  if (proven && tried >= trialTime && regret <= patience) {
    proven = 0;
    step *= 2;
    pause = shortestPause;
    pauseEnd = now;
  }
}

/// One worker less needs up to 1/size more time, and loses none if the other
/// program then runs on the processor that is left to it. The last worker never
/// adds a full share, so a little less than that is what it saves.
void TeamSize::account(Duration lost, Time now) {
  Duration time = now - accounted;
  accounted = now;
  tried += time;
  regret += std::min(lost, time) - time * 4 / (5 * int(size));
  regret = std::max(regret, Duration::zero());
}

void TeamSize::shrink(Time now) {
  if (size == 1)
    return;
  size = proven ? proven : size - 1;
  proven = 0;
  step = 1;
  regret = {};
  pauseEnd = now + pause;
  pause = std::min<Duration>(2 * pause, longestPause);
}
