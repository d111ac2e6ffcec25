#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds lumen-opt, the Python extension and the stress test of thread teams with sanitizers, and runs the tests
# that have most to do with memory. Needs clang's runtime (libclang-rt-22-dev). Arguments go to pytest.
set -e
cd "$(dirname "$0")/.."
lit=${LIT:-lit}
python=${PYTHON:-python3}

cmake --preset tsan >/dev/null
cmake --build --preset tsan
build/tsan/bin/team-stress 10

cmake --preset asan -DPython_EXECUTABLE="$(command -v "$python")" >/dev/null
cmake --build --preset asan
# LLVM's libraries are built without sanitizers: memory that inline functions of theirs poison is used by
# others, and what they keep until the end counts as lost.
export ASAN_OPTIONS=allow_user_poisoning=0:detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
build/asan/bin/team-stress 10
PYTHONPATH=$PWD/test:$PWD/test/py "$python" test/runtime/tokenizer_files.py build/asan/tokenizers
ASAN_OPTIONS='' build/asan/bin/tokenizer-fuzz 50000 1 build/asan/tokenizers/*.bin
"$lit" -v --no-progress-bar -D lumen_opt=build/asan/bin/lumen-opt test/lit

# Python itself has no sanitizer: its runtime has to be loaded first. Crashes are what some tests are about, so
# they stay signals; and memory that is not there is an answer to others.
compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' build/asan/CMakeCache.txt)
runtime=$("$compiler" -print-file-name="libclang_rt.asan-$(uname -m).so")
options=handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigill=0:handle_sigfpe=0:use_sigaltstack=0
export ASAN_OPTIONS="$ASAN_OPTIONS:$options:allocator_may_return_null=1"
LD_PRELOAD=$runtime PYTHONMALLOC=malloc PYTHONPATH=$PWD/build/asan/python \
  "$python" -m pytest -q -n auto -m "not (matrix or emulated or wasm)" "$@" test/py/ir test/py/dialects test/py/compiler \
  test/py/passes/test_passes.py test/py/passes/test_rows.py test/py/passes/test_attention.py test/py/run/test_engine.py \
  test/py/run/test_packed_weights.py test/py/support/test_thread_team.py test/py/storage

# The library of bundles, and programs with it.
LUMEN_TEST_SANITIZERS=address,undefined LD_PRELOAD=$runtime LD_LIBRARY_PATH=$(dirname "$runtime") PYTHONMALLOC=malloc \
  "$python" -m pytest -q -n auto -m 'not (matrix or emulated or wasm)' "$@" test/py/aot
