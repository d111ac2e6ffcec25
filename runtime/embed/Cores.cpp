//===- Cores.cpp - How many threads to use --------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/embed/Cores.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include <sched.h>

using namespace mlir::lumen;

static std::string readWord(const std::string &path) {
  std::string word;
  std::ifstream(path) >> word;
  return word;
}

/// Hardware threads of one core count once. Without topology each one counts.
static unsigned countAllowed() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
    return std::max(std::thread::hardware_concurrency(), 1u);
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed))
      continue;
    std::string topology =
        "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::string core = readWord(topology + "core_id");
    std::string package = readWord(topology + "physical_package_id");
    cores.insert(core.empty() || package.empty() ? "cpu" + std::to_string(cpu)
                                                 : package + " " + core);
  }
  return std::max<unsigned>(cores.size(), 1);
}

/// CPUs' worth of time that the control groups of this process allow, as the
/// system's version 2 of them says it; infinite where nothing limits it.
static double readQuota() {
  double quota = INFINITY;
  std::ifstream groups("/proc/self/cgroup");
  std::string line, group;
  while (std::getline(groups, line))
    if (line.compare(0, 3, "0::") == 0)
      group = line.substr(3);
  if (group.empty())
    return quota;
  while (true) {
    std::ifstream file("/sys/fs/cgroup" + group + "/cpu.max");
    std::string limit;
    unsigned long period = 0;
    if (file >> limit >> period && period &&
        limit.find_first_not_of("0123456789") == std::string::npos)
      quota = std::min(quota, std::stod(limit) / double(period));
    size_t end = group.rfind('/');
    if (end == std::string::npos || group.empty())
      return quota;
    group.resize(end);
  }
}

unsigned mlir::lumen::countCores() {
  double count = std::floor(std::min<double>(countAllowed(), readQuota()));
  return std::max(unsigned(count), 1u);
}
