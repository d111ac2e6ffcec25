# SPDX-License-Identifier: Apache-2.0
#
# Builds for 64-bit ARM on another machine, with the folder that
# tools/wheels/sysroot.sh makes: LUMEN_SYSROOT, in the environment or by -D.
set(LUMEN_SYSROOT "$ENV{LUMEN_SYSROOT}" CACHE PATH "Libraries of the other machine")
if(NOT IS_DIRECTORY "${LUMEN_SYSROOT}/usr")
  message(FATAL_ERROR "LUMEN_SYSROOT is no folder of tools/wheels/sysroot.sh: '${LUMEN_SYSROOT}'")
endif()
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LUMEN_SYSROOT)
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_SYSROOT "${LUMEN_SYSROOT}")
set(CMAKE_C_COMPILER clang-22)
set(CMAKE_CXX_COMPILER clang++-22)
set(CMAKE_C_COMPILER_TARGET aarch64-linux-gnu)
set(CMAKE_CXX_COMPILER_TARGET aarch64-linux-gnu)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
foreach(kind EXE SHARED MODULE)
  set(CMAKE_${kind}_LINKER_FLAGS_INIT -fuse-ld=lld)
endforeach()

# Programs such as mlir-tblgen are this machine's, libraries the other's.
set(CMAKE_FIND_ROOT_PATH "${CMAKE_SYSROOT}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
