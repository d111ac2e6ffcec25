//===- CodeGen.cpp - From the llvm dialect to machine code ----------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/codegen/CodeGen.h"

#include "runtime/codegen/Backends.h"
#include "runtime/codegen/Guard.h"
#include "runtime/codegen/HostFeatures.h"
#include "runtime/codegen/Shader.h"

#include "mlir/IR/Operation.h"
#include "mlir/Target/LLVMIR/Export.h"

#include "llvm/IR/DiagnosticInfo.h"
#include "llvm/IR/DiagnosticPrinter.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/SmallVectorMemoryBuffer.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Host.h"

using namespace mlir;
using namespace mlir::lumen;

static llvm::Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(message);
}

//===----------------------------------------------------------------------===//
// Target
//===----------------------------------------------------------------------===//

CodeGenTarget mlir::lumen::hostTarget() {
  CodeGenTarget host{
      llvm::sys::getProcessTriple(), llvm::sys::getHostCPUName().str(), {}};
  for (const auto &feature : getHostFeatures()) {
    if (!host.features.empty())
      host.features += ',';
    host.features += feature.second ? '+' : '-';
    host.features += feature.first();
  }
  return host;
}

/// An empty triple is this process's.
static llvm::Triple readTriple(const std::string &triple) {
  return llvm::Triple(llvm::Triple::normalize(
      triple.empty() ? llvm::sys::getProcessTriple() : triple));
}

std::string mlir::lumen::getArchitecture(const std::string &triple) {
  return llvm::Triple::getArchTypeName(readTriple(triple).getArch()).str();
}

/// LLVM only warns about names it does not know, on stderr.
static llvm::Error checkNames(const llvm::Target &target,
                              const llvm::Triple &triple,
                              const CodeGenTarget &names) {
  std::unique_ptr<llvm::MCSubtargetInfo> info(
      target.createMCSubtargetInfo(triple, "", ""));
  if (!names.cpu.empty() && !info->isCPUStringValid(names.cpu))
    return makeError("unknown CPU '" + names.cpu + "' for target " +
                     triple.str());
  SmallVector<StringRef> features;
  StringRef(names.features).split(features, ',', -1, /*KeepEmpty=*/false);
  for (StringRef feature : features) {
    StringRef name = feature.drop_front();
    if ((feature.front() != '+' && feature.front() != '-') ||
        llvm::none_of(info->getAllProcessorFeatures(),
                      [&](const auto &known) { return name == known.Key; }))
      return makeError("unknown feature '" + feature + "' for target " +
                       triple.str() + ": features read as '+avx2,-avx512f'");
  }
  return llvm::Error::success();
}

static llvm::Expected<std::unique_ptr<llvm::TargetMachine>>
makeTargetMachine(const CodeGenTarget &names, unsigned optLevel) {
  llvm::Triple triple = readTriple(names.triple);
  const llvm::Target *target = findBackend(triple);
  if (!target)
    return makeError("no code generator for target '" + triple.str() + "'");
  if (llvm::Error error = checkNames(*target, triple, names))
    return error;
  llvm::TargetOptions options;
  // Position-independent code also serves ahead-of-time linking.
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      triple, names.cpu, names.features, options, llvm::Reloc::PIC_,
      std::nullopt, static_cast<llvm::CodeGenOptLevel>(optLevel)));
}

//===----------------------------------------------------------------------===//
// Passes
//===----------------------------------------------------------------------===//

static void addPackedInterface(llvm::Module &module) {
  llvm::IRBuilder<> builder(module.getContext());
  SmallVector<llvm::Function *> functions;
  for (llvm::Function &function : module)
    if (!function.isDeclaration() &&
        function.getName().starts_with("_mlir_ciface_"))
      functions.push_back(&function);
  for (llvm::Function *function : functions) {
    auto *type = llvm::FunctionType::get(builder.getVoidTy(),
                                         {builder.getPtrTy()}, false);
    auto *wrapper =
        llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage,
                               "_mlir_" + function->getName(), module);
    builder.SetInsertPoint(
        llvm::BasicBlock::Create(module.getContext(), "", wrapper));
    unsigned index = 0;
    auto nextAddress = [&] {
      llvm::Value *slot = builder.CreateConstGEP1_64(
          builder.getPtrTy(), wrapper->getArg(0), index++);
      return builder.CreateLoad(builder.getPtrTy(), slot);
    };
    SmallVector<llvm::Value *> arguments;
    for (llvm::Argument &argument : function->args())
      arguments.push_back(
          builder.CreateLoad(argument.getType(), nextAddress()));
    llvm::Value *result = builder.CreateCall(function, arguments);
    if (!result->getType()->isVoidTy())
      builder.CreateStore(result, nextAddress());
    builder.CreateRetVoid();
  }
}

static llvm::Error optimize(llvm::Module &module, llvm::TargetMachine &machine,
                            const CodeGenOptions &options) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager callGraph;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(callGraph);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, callGraph, modules);
  const llvm::OptimizationLevel levels[] = {
      llvm::OptimizationLevel::O0, llvm::OptimizationLevel::O1,
      llvm::OptimizationLevel::O2, llvm::OptimizationLevel::O3};
  llvm::ModulePassManager passes;
  if (!options.passes.empty()) {
    if (llvm::Error error = builder.parsePassPipeline(passes, options.passes))
      return error;
  } else {
    llvm::OptimizationLevel level = levels[options.optLevel];
    passes = options.optLevel == 0
                 ? builder.buildO0DefaultPipeline(level)
                 : builder.buildPerModuleDefaultPipeline(level);
  }
  passes.run(module, modules);
  return llvm::Error::success();
}

/// Says of inline assembly without side effects that it touches no memory:
/// loads may then leave the loop that it is in.
static void markAssembly(llvm::Module &module) {
  for (llvm::Function &function : module)
    for (llvm::Instruction &each : llvm::instructions(function)) {
      auto *call = dyn_cast<llvm::CallInst>(&each);
      auto *code =
          call ? dyn_cast<llvm::InlineAsm>(call->getCalledOperand()) : nullptr;
      if (code && !code->hasSideEffects())
        call->setDoesNotAccessMemory();
    }
}

/// Makes single values of bf16 that are only moved integers, in WebAssembly:
/// its back end cannot load them. Last, as optimizations would undo it.
static void moveAsIntegers(llvm::Module &module) {
  if (!module.getTargetTriple().isWasm())
    return;
  llvm::IRBuilder<> builder(module.getContext());
  llvm::Type *bits = builder.getInt16Ty(), *bf16 = builder.getBFloatTy();
  SmallVector<llvm::Instruction *> moves;
  for (llvm::Function &function : module)
    for (llvm::Instruction &each : llvm::instructions(function)) {
      auto *store = dyn_cast<llvm::StoreInst>(&each);
      if (store ? store->getValueOperand()->getType() == bf16
                : each.getType() == bf16 &&
                      isa<llvm::LoadInst, llvm::PHINode>(each))
        moves.push_back(&each);
    }
  // Integers first, so that what uses them finds them.
  DenseMap<llvm::Value *, llvm::Value *> integers;
  for (llvm::Instruction *move : moves) {
    builder.SetInsertPoint(move);
    if (auto *load = dyn_cast<llvm::LoadInst>(move))
      integers[load] = builder.CreateAlignedLoad(
          bits, load->getPointerOperand(), load->getAlign());
    else if (auto *phi = dyn_cast<llvm::PHINode>(move))
      integers[phi] = builder.CreatePHI(bits, phi->getNumIncomingValues());
  }
  auto get = [&](llvm::Value *value) {
    llvm::Value *found = integers.lookup(value);
    return found ? found : builder.CreateBitCast(value, bits);
  };
  for (llvm::Instruction *move : moves) {
    if (auto *phi = dyn_cast<llvm::PHINode>(move)) {
      auto *made = cast<llvm::PHINode>(integers[phi]);
      for (unsigned i = 0; i < phi->getNumIncomingValues(); ++i) {
        llvm::BasicBlock *from = phi->getIncomingBlock(i);
        builder.SetInsertPoint(from->getTerminator());
        made->addIncoming(get(phi->getIncomingValue(i)), from);
      }
    } else if (auto *store = dyn_cast<llvm::StoreInst>(move)) {
      builder.SetInsertPoint(store);
      builder.CreateAlignedStore(get(store->getValueOperand()),
                                 store->getPointerOperand(), store->getAlign());
    }
  }
  for (llvm::Instruction *move : llvm::reverse(moves)) {
    if (!move->use_empty()) {
      llvm::Instruction *made = cast<llvm::Instruction>(integers[move]);
      builder.SetInsertPoint(isa<llvm::PHINode>(made)
                                 ? &*made->getParent()->getFirstInsertionPt()
                                 : made->getNextNode());
      move->replaceAllUsesWith(builder.CreateBitCast(made, bf16));
    }
    move->eraseFromParent();
  }
}

static std::string emit(llvm::Module &module, llvm::TargetMachine &machine,
                        CodeGenOutput output, std::string &error) {
  SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  if (output == CodeGenOutput::LLVMIR) {
    module.print(stream, nullptr);
  } else {
    llvm::legacy::PassManager passes;
    auto type = output == CodeGenOutput::Assembly
                    ? llvm::CodeGenFileType::AssemblyFile
                    : llvm::CodeGenFileType::ObjectFile;
    if (machine.addPassesToEmitFile(passes, stream, nullptr, type)) {
      error = "the target cannot emit this kind of file";
      return {};
    }
    passes.run(module);
  }
  return std::string(bytes.begin(), bytes.end());
}

//===----------------------------------------------------------------------===//
// All together
//===----------------------------------------------------------------------===//

/// Keeps the back end from ending the process: an error diagnostic would exit.
static void collectErrors(const llvm::DiagnosticInfo *info, void *errors) {
  if (info->getSeverity() != llvm::DS_Error)
    return;
  llvm::raw_string_ostream stream(*static_cast<std::string *>(errors));
  if (!stream.str().empty())
    stream << "; ";
  llvm::DiagnosticPrinterRawOStream printer(stream);
  info->print(printer);
}

llvm::Expected<std::string>
mlir::lumen::generateCode(Operation *op, CodeGenOutput output,
                          const CodeGenTarget &target,
                          const CodeGenOptions &options) {
  if (options.optLevel > 3)
    return makeError("the optimization level is 0, 1, 2 or 3, not " +
                     llvm::Twine(options.optLevel));
  if (output == CodeGenOutput::Object && isShader(op))
    return serializeShader(op);
  auto machine = makeTargetMachine(target, options.optLevel);
  if (!machine)
    return machine.takeError();

  auto context = std::make_unique<llvm::LLVMContext>();
  std::string errors, result;
  context->setDiagnosticHandlerCallBack(collectErrors, &errors);
  std::unique_ptr<llvm::Module> module;
  std::optional<std::string> crash = runGuarded([&] {
    module = translateModuleToLLVMIR(op, *context);
    if (!module)
      return;
    module->setTargetTriple((*machine)->getTargetTriple());
    module->setDataLayout((*machine)->createDataLayout());
    std::string broken;
    llvm::raw_string_ostream stream(broken);
    if (llvm::verifyModule(*module, &stream)) {
      errors += StringRef(broken).trim().split('\n').first;
      return;
    }
    if (options.packedInterface)
      addPackedInterface(*module);
    markAssembly(*module);
    if (llvm::Error error = optimize(*module, **machine, options))
      errors += llvm::toString(std::move(error));
    moveAsIntegers(*module);
    if (errors.empty())
      result = emit(*module, **machine, output, errors);
  });
  if (crash) {
    // Nothing of what the crash left half-done may be touched again.
    (void)module.release();
    (void)context.release();
    (void)machine->release();
    return makeError("code generation failed: " + *crash);
  }
  if (!module)
    return makeError("the module cannot be translated to LLVM IR" +
                     (errors.empty() ? "" : ": " + errors));
  if (!errors.empty())
    return makeError("code generation failed: " + StringRef(errors).trim());
  return result;
}
