//===- BindThreadTeam.cpp - Thread teams ----------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/ThreadTeam.h"
#include "runtime/bindings/Common.h"

#include <chrono>

using namespace mlir::lumen;
using namespace mlir::lumen::python;

static constexpr unsigned maxThreads = 1024;

using Slots = nb::ndarray<uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

static void run(ThreadTeam &self, uint64_t address, Slots slots) {
  if (!address)
    throw nb::value_error("the address of the function is 0");
  auto entry = reinterpret_cast<ThreadTeam::Entry>(address);
  uint64_t *data = slots.data();
  nb::gil_scoped_release release;
  self.run(entry, data);
}

static double measureBarrier(ThreadTeam &self, uint64_t repetitions) {
  auto entry = [](uint64_t *slots, lumen_worker *worker) {
    for (uint64_t i = 0; i < *slots; ++i)
      lumen_barrier(worker);
  };
  nb::gil_scoped_release release;
  auto start = std::chrono::steady_clock::now();
  self.run(entry, &repetitions);
  std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  return time.count() / double(repetitions);
}

void mlir::lumen::python::bindThreadTeam(nb::module_ &m) {
  nb::class_<ThreadTeam>(
      m, "ThreadTeam",
      "Native threads that run one function together and sleep in between. "
      "The caller of run() is worker 0.")
      .def(
          "__init__",
          [](ThreadTeam *self, int64_t threads) {
            if (threads < 1 || threads > maxThreads)
              throw nb::value_error(("a team has 1 to " +
                                     std::to_string(maxThreads) +
                                     " threads, not " + std::to_string(threads))
                                        .c_str());
            new (self) ThreadTeam(unsigned(threads));
          },
          nb::arg("threads"))
      .def_prop_ro("size", &ThreadTeam::size)
      .def_prop_ro("active", &ThreadTeam::active,
                   "Threads that took part in the last run: fewer than `size` "
                   "where other programs keep processors busy.")
      .def(
          "run", &run, nb::arg("address"), nb::arg("slots").noconvert(),
          "Calls the native function `void f(uint64_t *slots, lumen_worker *)` "
          "at `address` on the threads that take part, without Python's global "
          "lock; returns when all are done. `slots` is a contiguous uint64 "
          "array.")
      .def("measure_barrier", &measureBarrier, nb::arg("repetitions") = 10000,
           "Seconds per barrier, over so many in a row.");
}
