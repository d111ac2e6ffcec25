//===- BindMemory.cpp - Checksums and mapped files ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/Checksum.h"
#include "runtime/FileGuard.h"
#include "runtime/bindings/Common.h"

using namespace mlir::lumen;
using namespace mlir::lumen::python;

using Bytes =
    nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

static void update(Checksum &self, const Bytes &data) {
  if (self.ended())
    throw nb::value_error("only the last piece may end amid a block");
  const uint8_t *bytes = data.data();
  const size_t count = data.size();
  nb::gil_scoped_release release;
  self.update(bytes, count);
}

void mlir::lumen::python::bindMemory(nb::module_ &m) {
  nb::class_<Checksum>(
      m, "Checksum",
      "A checksum of 64 bits against accidents, at the speed of memory. It "
      "depends on every byte and on where it stands.")
      .def(nb::init<>())
      .def("update", &update, nb::arg("data"),
           "Adds the next bytes (a uint8 array) without Python's global lock. "
           "All pieces but the last have a multiple of 4096 bytes.")
      .def_prop_ro("value", &Checksum::value, "The checksum so far, an int.");

  nb::class_<FileGuard>(
      m, "FileGuard",
      "Makes a mapping (a uint8 array that begins at a page) read as zeros "
      "where its file has lost pages, and remembers that it did.")
      .def(
          "__init__",
          [](FileGuard *self, const Bytes &mapping) {
            new (self) FileGuard(mapping.data(), mapping.size());
          },
          nb::arg("mapping"))
      .def_prop_ro("lost", &FileGuard::lost, "Whether pages were lost.")
      .def("release", &FileGuard::release,
           "Ends the watch, before the mapping goes away.");
}
