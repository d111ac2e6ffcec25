//===- WeightFile.cpp - The mapped weights of a bundle --------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/embed/WeightFile.h"

#include "runtime/Checksum.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace mlir::lumen;

namespace {
/// The first bytes of a file. Python writes the same
/// (lumen_mlir.aot.weight_file).
struct WeightHeader {
  char magic[8];
  uint32_t version;
  uint32_t headerBytes;
  uint64_t descriptionBytes;
  uint64_t dataBegin;
  uint64_t dataBytes;
  uint64_t descriptionChecksum;
  uint64_t dataChecksum;
  uint64_t headerChecksum;
};
static_assert(sizeof(WeightHeader) == 64);
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0)
      close(number);
  }
};
} // namespace

static constexpr char kMagic[] = "LUMENWTS";
static constexpr uint32_t kVersion = 1;

static uint64_t checksum(const uint8_t *bytes, uint64_t count) {
  Checksum sum;
  sum.update(bytes, count);
  return sum.value();
}

WeightFile::WeightFile(const std::string &path) : path(path) {
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.number < 0)
    fail(LUMEN_ERROR_FILE, "%s: cannot be opened: %s", path.c_str(),
         std::strerror(errno));
  map(file.number);
  try {
    guard = std::make_unique<FileGuard>(bytes, size);
    readHeader();
    checkWhole();
  } catch (...) {
    guard.reset();
    munmap(const_cast<uint8_t *>(bytes), size);
    throw;
  }
}

WeightFile::~WeightFile() {
  // Before its addresses can be those of another mapping.
  guard.reset();
  munmap(const_cast<uint8_t *>(bytes), size);
}

void WeightFile::map(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) != 0)
    fail(LUMEN_ERROR_FILE, "%s: cannot be read: %s", path.c_str(),
         std::strerror(errno));
  if (!S_ISREG(status.st_mode))
    fail(LUMEN_ERROR_FILE, "%s: is not a regular file", path.c_str());
  size = status.st_size;
  if (size < sizeof(WeightHeader))
    fail(LUMEN_ERROR_DAMAGED, "%s: has %llu bytes, fewer than a header",
         path.c_str(), static_cast<unsigned long long>(size));
  void *mapped = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (mapped == MAP_FAILED)
    fail(LUMEN_ERROR_MEMORY, "%s: cannot be mapped: %s", path.c_str(),
         std::strerror(errno));
  bytes = static_cast<const uint8_t *>(mapped);
#ifdef MADV_HUGEPAGE
  // Steps read all of it. A system without large pages refuses the advice.
  (void)madvise(mapped, size, MADV_HUGEPAGE);
#endif
}

void WeightFile::readHeader() {
  WeightHeader header;
  std::memcpy(&header, bytes, sizeof(header));
  const char *name = path.c_str();
  if (std::memcmp(header.magic, kMagic, sizeof(header.magic)) != 0)
    fail(LUMEN_ERROR_DAMAGED, "%s: holds no weights of Lumen", name);
  if (header.version != kVersion)
    fail(LUMEN_ERROR_VERSION,
         "%s: version %u of another version of Lumen; this library reads "
         "version %u",
         name, header.version, kVersion);
  if (header.headerBytes != sizeof(WeightHeader) ||
      header.headerChecksum !=
          checksum(bytes, sizeof(WeightHeader) - sizeof(uint64_t)))
    fail(LUMEN_ERROR_DAMAGED, "%s: the header is damaged", name);
  // The sizes are what was written, unless somebody means harm.
  dataBegin = header.dataBegin;
  dataBytes = header.dataBytes;
  dataChecksum = header.dataChecksum;
  if (header.descriptionBytes > dataBegin ||
      dataBegin - header.descriptionBytes < sizeof(WeightHeader) ||
      dataBegin % 4096 || dataBegin > UINT64_MAX - dataBytes)
    fail(LUMEN_ERROR_DAMAGED, "%s: the header is damaged", name);
  if (size != dataBegin + dataBytes)
    fail(LUMEN_ERROR_DAMAGED, "%s: has %llu bytes instead of %llu: it is %s",
         name, static_cast<unsigned long long>(size),
         static_cast<unsigned long long>(dataBegin + dataBytes),
         size < dataBegin + dataBytes ? "truncated" : "too long");
  const uint8_t *text = bytes + sizeof(WeightHeader);
  if (checksum(text, header.descriptionBytes) != header.descriptionChecksum)
    fail(LUMEN_ERROR_DAMAGED, "%s: the description is damaged", name);
  description =
      WeightDescription::read(std::string(reinterpret_cast<const char *>(text),
                                          header.descriptionBytes),
                              path);
}

void WeightFile::verify() const {
  bool same = checksum(bytes + dataBegin, dataBytes) == dataChecksum;
  checkWhole();
  if (!same)
    fail(LUMEN_ERROR_DAMAGED, "%s: the weights are damaged", path.c_str());
}

const uint8_t *WeightFile::at(uint64_t offset, uint64_t count,
                              uint64_t alignment) const {
  if (offset > dataBytes || count > dataBytes - offset || offset % alignment)
    fail(LUMEN_ERROR_DAMAGED,
         "%s: there is nothing at bytes %llu to %llu of the data", path.c_str(),
         static_cast<unsigned long long>(offset),
         static_cast<unsigned long long>(offset + count));
  return bytes + dataBegin + offset;
}

void WeightFile::checkWhole() const {
  if (guard->lost())
    fail(LUMEN_ERROR_FILE, "%s: was cut short while it was in use",
         path.c_str());
}
