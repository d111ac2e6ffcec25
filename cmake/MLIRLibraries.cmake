# SPDX-License-Identifier: Apache-2.0
#
# What Lumen links of MLIR and LLVM: the target LumenMLIR. Nothing else names
# their libraries.
#
# LUMEN_STATIC is for wheels: the archives instead of the shared libraries, so
# that what is built needs neither LLVM nor a C++ library where it runs.

option(LUMEN_STATIC "Link MLIR and LLVM statically" OFF)
add_library(LumenMLIR INTERFACE)

# The back ends: of the shared library all, since they are there anyway; of the
# archives those that Lumen has targets for, or will have.
if(LUMEN_STATIC)
  set(LUMEN_BACKENDS X86 AArch64 WebAssembly NVPTX SPIRV)
else()
  set(LUMEN_BACKENDS ${LLVM_TARGETS_TO_BUILD})
endif()
set(backends "")
set(asm_parsers "")
foreach(backend IN LISTS LUMEN_BACKENDS)
  string(APPEND backends "LUMEN_BACKEND(${backend})\n")
  if(TARGET LLVM${backend}AsmParser)
    string(APPEND asm_parsers "LUMEN_ASM_PARSER(${backend})\n")
  endif()
endforeach()
configure_file(runtime/codegen/Backends.def.in runtime/codegen/Backends.def @ONLY)

if(NOT LUMEN_STATIC)
  target_link_libraries(LumenMLIR INTERFACE MLIR LLVM)
  return()
endif()

find_program(LUMEN_LLD NAMES ld.lld-22 ld.lld)
if(NOT LUMEN_LLD)
  message(FATAL_ERROR "a static build links with lld, which is missing: apt-get install lld-22")
endif()

# Where the compiler has an archive, of the architecture that it compiles for.
set(LUMEN_OTHER_ARCHIVES "")
set(target "")
if(CMAKE_CROSSCOMPILING)
  set(target --target=${CMAKE_CXX_COMPILER_TARGET} --sysroot=${CMAKE_SYSROOT})
endif()
foreach(name libz.a libzstd.a libstdc++.a)
  execute_process(
    COMMAND "${CMAKE_CXX_COMPILER}" ${target} -print-file-name=${name}
    OUTPUT_VARIABLE path OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(NOT EXISTS "${path}")
    message(FATAL_ERROR "${name} is missing: apt-get install zlib1g-dev libzstd-dev g++")
  endif()
  list(APPEND LUMEN_OTHER_ARCHIVES "${path}")
endforeach()

llvm_map_components_to_libnames(llvm_libraries
  ${LUMEN_BACKENDS} OrcJIT Passes IRReader BitWriter Linker)

# MLIR's archives ask for the shared library of LLVM, and some of LLVM's for
# libraries that only parts of them need. So the lists are walked here: archives
# are kept, and the rest is replaced.
function(lumen_collect_archives result)
  set(open ${ARGN})
  set(seen "")
  set(archives "")
  while(open)
    list(POP_FRONT open library)
    if(NOT TARGET ${library} OR library IN_LIST seen)
      continue()
    endif()
    list(APPEND seen ${library})
    get_target_property(type ${library} TYPE)
    if(NOT type STREQUAL "STATIC_LIBRARY")
      continue()
    endif()
    list(APPEND archives "$<TARGET_FILE:${library}>")
    get_target_property(needed ${library} INTERFACE_LINK_LIBRARIES)
    if(needed)
      string(REGEX REPLACE "\\$<LINK_ONLY:([^>]*)>" "\\1" needed "${needed}")
      list(APPEND open ${needed})
    endif()
  endwhile()
  set(${result} ${archives} PARENT_SCOPE)
endfunction()

# Dialects and conversions are archives of their own, of which the linker takes
# the members that passes/Registration.cpp reaches.
get_property(dialects GLOBAL PROPERTY MLIR_DIALECT_LIBS)
get_property(conversions GLOBAL PROPERTY MLIR_CONVERSION_LIBS)
get_property(extensions GLOBAL PROPERTY MLIR_EXTENSION_LIBS)
lumen_collect_archives(LUMEN_ARCHIVES
  ${dialects} ${conversions} ${extensions}
  MLIROptLib MLIRTransforms MLIRTargetLLVMIRExport
  MLIRBuiltinToLLVMIRTranslation MLIRLLVMToLLVMIRTranslation MLIRSPIRVSerialization
  ${llvm_libraries})

add_library(LumenOldLibraryC STATIC runtime/OldLibraryC.c)
target_link_libraries(LumenMLIR INTERFACE
  -Wl,--start-group ${LUMEN_ARCHIVES} -Wl,--end-group
  ${LUMEN_OTHER_ARCHIVES} LumenOldLibraryC ${CMAKE_DL_LIBS} m)
# What is not reached is left out, what is left is not seen from outside: another
# MLIR in the process, such as JAX's, has the same names. libgcc_s stays shared,
# because one unwinder serves all libraries of a process.
target_link_options(LumenMLIR INTERFACE
  -fuse-ld=lld -Wl,--gc-sections,--icf=all,--as-needed,--exclude-libs,ALL,-O2
  -static-libstdc++)

# Writes what is linked and puts it into the wheel (PEP 770).
function(lumen_install_bill_of_materials)
  set(list "${CMAKE_BINARY_DIR}/archives.txt")
  set(bill "${CMAKE_BINARY_DIR}/lumen-mlir.cdx.json")
  set(tool "${PROJECT_SOURCE_DIR}/tools/wheels/sbom.py")
  set(model "${PROJECT_SOURCE_DIR}/python/lumen_mlir/data/lumen-ko-comments-7m-q8_0.gguf")
  # A part of the command, so that another time makes another file.
  set(time 0)
  if(DEFINED ENV{SOURCE_DATE_EPOCH})
    set(time "$ENV{SOURCE_DATE_EPOCH}")
  endif()
  set(lines ${LUMEN_ARCHIVES} ${LUMEN_OTHER_ARCHIVES})
  list(JOIN lines "\n" lines)
  file(GENERATE OUTPUT "${list}" CONTENT "${lines}\n")
  add_custom_command(OUTPUT "${bill}" DEPENDS "${list}" "${tool}" "${model}" VERBATIM
    COMMAND "${Python_EXECUTABLE}" "${tool}" "${bill}" --archives "${list}" --model "${model}"
      --root "${CMAKE_SYSROOT}/" --time "${time}" --version "${SKBUILD_PROJECT_VERSION_FULL}")
  add_custom_target(LumenBillOfMaterials ALL DEPENDS "${bill}")
  install(FILES "${bill}" DESTINATION "${SKBUILD_METADATA_DIR}/sboms" COMPONENT python)
endfunction()
