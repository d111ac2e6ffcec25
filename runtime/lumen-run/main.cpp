//===- main.cpp - Continues a text with the model of a bundle -------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "Generate.h"
#include "Options.h"
#include "Streams.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <new>
#include <unistd.h>

using namespace lumen::run;

static int fail(const std::string &text, int code) {
  tell("error: " + text);
  return code;
}

/// Standard streams that were closed swallow what is written: the next file
/// that is opened must not get their number.
static void openStreams() {
  for (int number = 0; number < 3; ++number)
    if (fcntl(number, F_GETFD) == -1 && errno == EBADF)
      (void)!open("/dev/null", O_RDWR);
}

static void onInterrupt(int) { interrupted = 1; }

/// The first Ctrl-C ends the text, the second one the program.
static void listen() {
  struct sigaction action = {};
  action.sa_handler = onInterrupt;
  action.sa_flags = int(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, nullptr);
}

static int run(const Options &options) {
  Statistics statistics;
  Generator generator(options, statistics);
  listen();
  Output output;
  generator.run(output);
  if (options.quiet)
    return interrupted ? 130 : 0;
  if (statistics.contextFull)
    tell("warning: the context of " + std::to_string(statistics.context) +
         " tokens is full");
  tell(statistics.text());
  return interrupted ? 130 : 0;
}

int main(int count, char **arguments) {
  openStreams();
  try {
    Options options = Options::parse(count, arguments);
    if (options.help || options.version) {
      std::string text =
          options.help ? Options::helpText()
                       : std::string("lumen-run ") + lumen_version() + "\n";
      bool written = std::fputs(text.c_str(), stdout) >= 0;
      return written && std::fflush(stdout) == 0 ? 0 : 1;
    }
    return run(options);
  } catch (const UsageError &error) {
    return fail(error.text + " (see 'lumen-run --help')", 2);
  } catch (const Failure &failure) {
    return fail(failure.text, 1);
  } catch (const std::bad_alloc &) {
    return fail("there is not enough memory", 1);
  }
}
