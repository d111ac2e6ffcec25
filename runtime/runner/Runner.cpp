//===- Runner.cpp - Runs compiled code for another process ----------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// The other side of lumen_mlir/run/runner.py: it reads requests from its input
// and writes answers to its output. It is compiled for the machine whose code
// is to run, and started there, or in an emulator of it.
//
// A request is words of 64 bits, little-endian, the first of which says what it
// is (enum Request). An answer is a word, 0, and what was asked for; or the
// length of a message, and the message that says why there is none. Numbers in
// requests are trusted: who sends them decides what code runs anyway.
//
//===----------------------------------------------------------------------===//

#include "runtime/ThreadTeam.h"
#include "runtime/embed/CpuFeatures.h"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

using namespace mlir::lumen;

/// Counts up when requests or answers change.
static constexpr uint64_t protocolVersion = 1;
/// What begins the first answer, which nothing asks for.
static constexpr char greeting[] = "LumenRun";

enum Request : uint64_t {
  /// size, bytes of a shared library ->
  Load = 1,
  /// length, name -> address
  Lookup,
  /// address, size -> bytes
  Read,
  /// threads ->
  SetThreads,
  /// size, place in a page of 4096 bytes -> address
  Allocate,
  /// address; no answer
  Free,
  /// address, size, bytes; no answer
  Write,
  /// address of an entry, count, words ->
  Run,
};

extern "C" {
/// For code that measures itself: nanoseconds since some moment.
int64_t lumen_clock() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch())
      .count();
}
}

namespace {
/// Where requests come from and answers go.
class Channel {
public:
  Channel() {
    // What anything else prints must not end up between answers.
    input = fdopen(dup(STDIN_FILENO), "rb");
    output = fdopen(dup(STDOUT_FILENO), "wb");
    if (!input || !output || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
      exit(2);
    setvbuf(input, nullptr, _IOFBF, 1 << 20);
    setvbuf(output, nullptr, _IOFBF, 1 << 20);
  }

  /// The end of the input is that of the program.
  void read(void *to, size_t size) {
    if (fread(to, 1, size, input) != size)
      _exit(0);
  }
  uint64_t readWord() {
    uint64_t word;
    read(&word, sizeof(word));
    return word;
  }
  std::string readText() {
    std::string text(readWord(), '\0');
    read(text.data(), text.size());
    return text;
  }
  void write(const void *from, size_t size) {
    if (fwrite(from, 1, size, output) != size)
      _exit(0);
  }
  void writeWord(uint64_t word) { write(&word, sizeof(word)); }
  void writeText(const std::string &text) {
    writeWord(text.size());
    write(text.data(), text.size());
  }
  void flush() { fflush(output); }

private:
  FILE *input, *output;
};

/// Memory beside pages that nobody may touch.
class Memory {
public:
  /// Begins at `place` of 4096 bytes, so that code meets the alignment that the
  /// other process has. Null where there is no memory.
  void *allocate(uint64_t size, uint64_t place) {
    uint64_t page = sysconf(_SC_PAGESIZE);
    uint64_t inner = (place + size + page - 1) / page * page;
    inner = inner ? inner : page;
    uint64_t whole = inner + 2 * page;
    void *begin = whole < size ? MAP_FAILED
                               : mmap(nullptr, whole, PROT_NONE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begin == MAP_FAILED)
      return nullptr;
    char *usable = static_cast<char *>(begin) + page;
    if (mprotect(usable, inner, PROT_READ | PROT_WRITE) != 0) {
      munmap(begin, whole);
      return nullptr;
    }
    mappings[usable + place] = {begin, whole};
    return usable + place;
  }

  void free(void *address) {
    auto found = mappings.find(address);
    if (found == mappings.end())
      return;
    munmap(found->second.first, found->second.second);
    mappings.erase(found);
  }

private:
  std::map<void *, std::pair<void *, uint64_t>> mappings;
};

class Runner {
public:
  void greet();
  void serve();

private:
  std::string load();
  std::string setThreads();
  void lookup();
  void allocate();

  Channel channel;
  Memory memory;
  void *library = nullptr;
  std::unique_ptr<ThreadTeam> team;
};
} // namespace

void Runner::greet() {
  std::string text = getArchitecture();
  for (const std::string &feature : getFeatures())
    text += " " + feature;
  channel.write(greeting, strlen(greeting));
  channel.writeWord(protocolVersion);
  channel.writeText(text);
  channel.flush();
}

/// Links what the other process sends; an empty text, or why that failed.
std::string Runner::load() {
  std::string bytes = channel.readText();
  int file = memfd_create("lumen", MFD_CLOEXEC);
  if (file < 0)
    return std::string("memfd_create: ") + strerror(errno);
  std::string path = "/proc/self/fd/" + std::to_string(file);
  for (size_t done = 0; done < bytes.size();) {
    ssize_t written = ::write(file, bytes.data() + done, bytes.size() - done);
    if (written < 0)
      return std::string("memfd: ") + strerror(errno);
    done += written;
  }
  library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  close(file);
  return library ? "" : dlerror();
}

std::string Runner::setThreads() {
  uint64_t count = channel.readWord();
  try {
    team.reset();
    team = std::make_unique<ThreadTeam>(count);
    return "";
  } catch (const std::system_error &error) {
    return "a team of " + std::to_string(count) +
           " threads cannot be started: " + error.what();
  }
}

void Runner::lookup() {
  std::string name = channel.readText();
  void *address = library ? dlsym(library, name.c_str()) : nullptr;
  if (!address)
    return channel.writeText("there is no symbol '" + name + "'");
  channel.writeWord(0);
  channel.writeWord(reinterpret_cast<uint64_t>(address));
}

void Runner::allocate() {
  uint64_t size = channel.readWord(), place = channel.readWord();
  void *address = memory.allocate(size, place);
  if (!address)
    return channel.writeText("no memory for " + std::to_string(size) +
                             " bytes");
  channel.writeWord(0);
  channel.writeWord(reinterpret_cast<uint64_t>(address));
}

void Runner::serve() {
  auto readAddress = [&] {
    return reinterpret_cast<char *>(channel.readWord());
  };
  std::vector<uint64_t> slots;
  while (true) {
    channel.flush();
    switch (channel.readWord()) {
    case Load:
      channel.writeText(load());
      break;
    case SetThreads:
      channel.writeText(setThreads());
      break;
    case Lookup:
      lookup();
      break;
    case Allocate:
      allocate();
      break;
    case Free:
      memory.free(readAddress());
      break;
    case Write: {
      char *to = readAddress();
      channel.read(to, channel.readWord());
      break;
    }
    case Read: {
      const char *from = readAddress();
      uint64_t size = channel.readWord();
      channel.writeWord(0);
      channel.write(from, size);
      break;
    }
    case Run: {
      auto entry = reinterpret_cast<ThreadTeam::Entry>(readAddress());
      slots.resize(channel.readWord());
      channel.read(slots.data(), slots.size() * sizeof(uint64_t));
      if (!team)
        team = std::make_unique<ThreadTeam>(1);
      team->run(entry, slots.data());
      channel.writeWord(0);
      break;
    }
    default:
      channel.writeText("an unknown request");
    }
  }
}

int main() {
  Runner runner;
  runner.greet();
  runner.serve();
}
