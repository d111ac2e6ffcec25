//===- BindCodeGen.cpp - Code generation and loading ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Diagnostics.h"
#include "runtime/codegen/CodeGen.h"
#include "runtime/codegen/HostFeatures.h"
#include "runtime/codegen/Jit.h"
#include "runtime/codegen/Memory.h"

using namespace mlir;
using namespace mlir::lumen;
using namespace mlir::lumen::python;

/// The value, or MLIRError with the message and the diagnostics so far.
template <typename T>
static T unwrap(llvm::Expected<T> result, CaptureDiagnostics &capture) {
  if (!result)
    capture.fail(llvm::toString(result.takeError()));
  return std::move(*result);
}

template <typename T> static T unwrap(llvm::Expected<T> result) {
  if (!result)
    throw MLIRError{llvm::toString(result.takeError()), {}};
  return std::move(*result);
}

static CodeGenOutput parseKind(const std::string &kind) {
  if (kind == "llvm")
    return CodeGenOutput::LLVMIR;
  if (kind == "asm")
    return CodeGenOutput::Assembly;
  if (kind == "obj")
    return CodeGenOutput::Object;
  throw nb::value_error(
      ("kind is 'llvm', 'asm' or 'obj', not '" + kind + "'").c_str());
}

static nb::bytes emitCode(const OpOrModule &op, const std::string &kindName,
                          std::optional<std::string> triple,
                          std::optional<std::string> cpu,
                          std::optional<std::string> features,
                          unsigned optLevel, std::optional<std::string> passes,
                          bool packedInterface) {
  CodeGenOutput kind = parseKind(kindName);
  CodeGenTarget target;
  if (!triple && !cpu && !features)
    target = hostTarget();
  target.triple = triple.value_or(target.triple);
  target.cpu = cpu.value_or(target.cpu);
  target.features = features.value_or(target.features);

  OpRef handle = handleOf(op);
  CaptureDiagnostics capture(handle->getContext());
  Operation *module = handle->getOp();
  std::string code = unwrap(
      [&] {
        // The translation legalizes parts of the module in place.
        OpHandle::Exclusive exclusive(handle);
        nb::gil_scoped_release release;
        return generateCode(
            module, kind, target,
            {optLevel, passes.value_or(std::string()), packedInterface});
      }(),
      capture);
  return nb::bytes(code.data(), code.size());
}

static nb::dict hostFeatures() {
  nb::dict features;
  SmallVector<StringRef> names;
  std::string text = hostTarget().features;
  StringRef(text).split(names, ',', -1, /*KeepEmpty=*/false);
  for (StringRef name : names)
    features[nb::str(name.data() + 1, name.size() - 1)] = name.front() == '+';
  return features;
}

void mlir::lumen::python::bindCodeGen(nb::module_ &m) {
  m.def("emit", &emitCode, nb::arg("module"), nb::arg("kind") = "obj",
        nb::arg("triple") = nb::none(), nb::arg("cpu") = nb::none(),
        nb::arg("features") = nb::none(), nb::arg("opt_level") = 3,
        nb::kw_only(), nb::arg("passes") = nb::none(),
        nb::arg("packed_interface") = false,
        "Compiles a module of the llvm dialect: kind 'llvm' (optimized LLVM "
        "IR), 'asm' or 'obj'. Without triple, cpu and features, for this "
        "machine. 'passes' are those on LLVM IR, as LLVM's 'opt -passes' takes "
        "them; without, those of the level. Raises MLIRError.");
  m.def(
      "host_triple", [] { return hostTarget().triple; },
      "The triple of this process, as 'x86_64-pc-linux-gnu'.");
  m.def("architecture", &getArchitecture, nb::arg("triple"),
        "LLVM's name of the architecture of a triple, as 'x86_64' or "
        "'aarch64'; an empty one is this process's.");
  m.def(
      "host_cpu_name", [] { return hostTarget().cpu; },
      "LLVM's name of this machine's CPU.");
  m.def("host_features", &hostFeatures,
        "What this machine's CPU has, by LLVM's feature names.");
  m.def(
      "arm_features",
      [](uint64_t hwcap, uint64_t hwcap2) {
        nb::list names;
        for (StringRef name : readArmFeatures(hwcap, hwcap2))
          names.append(nb::str(name.data(), name.size()));
        return names;
      },
      nb::arg("hwcap"), nb::arg("hwcap2"),
      "LLVM's names of the features in the words AT_HWCAP and AT_HWCAP2 of an "
      "AArch64 Linux.");

  m.def("release_memory", &releaseCompilerMemory,
        "Gives back the memory that compiling has used and running does not "
        "need, the compiler's own code included.");

  nb::class_<LoadedObject>(
      m, "ObjectFile",
      "An object file loaded into this process, or several that are linked "
      "with each other. Their code is gone when this object is; nothing may "
      "run it then.")
      .def(nb::new_([](std::variant<nb::bytes, std::vector<nb::bytes>> data,
                       std::vector<std::string> libraries, bool perfMap) {
             SmallVector<StringRef> objects;
             auto add = [&](const nb::bytes &bytes) {
               objects.push_back(StringRef(bytes.c_str(), bytes.size()));
             };
             if (auto *bytes = std::get_if<nb::bytes>(&data))
               add(*bytes);
             else
               llvm::for_each(std::get<1>(data), add);
             return unwrap(
                 LoadedObject::load(objects, {std::move(libraries), perfMap}));
           }),
           nb::arg("data"), nb::arg("shared_libs") = std::vector<std::string>(),
           nb::arg("perf_map") = false)
      .def(
          "lookup",
          [](LoadedObject &self, const std::string &name) {
            return unwrap(self.lookup(name));
          },
          nb::arg("name"),
          "The address of a symbol; raises MLIRError if there is none.")
      .def(
          "read_i64",
          [](LoadedObject &self, const std::string &name) {
            return *reinterpret_cast<int64_t *>(unwrap(self.lookup(name)));
          },
          nb::arg("name"), "The value of a 64-bit integer global.");
}
