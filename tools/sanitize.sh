#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds lumen-opt and the stress test of thread teams with sanitizers, and runs the tests of both with them.
# Needs clang's runtime (libclang-rt-22-dev).
set -e
cd "$(dirname "$0")/.."
lit=${LIT:-lit}

cmake --preset tsan >/dev/null
cmake --build --preset tsan
build/tsan/bin/team-stress 10

cmake --preset asan >/dev/null
cmake --build --preset asan
# LLVM's libraries are built without sanitizers: memory that inline functions of theirs poison is used by
# others, and what they keep until the end counts as lost.
export ASAN_OPTIONS=allow_user_poisoning=0:detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
build/asan/bin/team-stress 10
"$lit" -v --no-progress-bar -D lumen_opt=build/asan/bin/lumen-opt test/lit
