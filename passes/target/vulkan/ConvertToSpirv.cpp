// SPDX-License-Identifier: Apache-2.0
//
// Kernels as compute shaders, of which what is not memory is left to convert.
#include "passes/Passes.h"
#include "passes/target/gpu/LaneLayout.h"
#include "passes/target/vulkan/Vulkan.h"

#include "mlir/Conversion/ArithToSPIRV/ArithToSPIRV.h"
#include "mlir/Conversion/FuncToSPIRV/FuncToSPIRV.h"
#include "mlir/Conversion/MathToSPIRV/MathToSPIRV.h"
#include "mlir/Conversion/SCFToSPIRV/SCFToSPIRV.h"
#include "mlir/Conversion/UBToSPIRV/UBToSPIRV.h"
#include "mlir/Conversion/VectorToSPIRV/VectorToSPIRV.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SPIRV/Transforms/SPIRVConversion.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_CONVERTTOSPIRVPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Of every shader.
constexpr StringLiteral kEntry = "main";

/// What a device must have. All with Vulkan 1.3 have the dot products.
spirv::VerCapExtAttr getEnvironment(MLIRContext *context) {
  using spirv::Capability;
  return spirv::VerCapExtAttr::get(
      spirv::Version::V_1_6,
      {Capability::Shader, Capability::Int8, Capability::Int16,
       Capability::Int64, Capability::Float16,
       Capability::StorageBuffer8BitAccess,
       Capability::StorageBuffer16BitAccess,
       Capability::PhysicalStorageBufferAddresses, Capability::DotProduct,
       Capability::DotProductInput4x8BitPacked, Capability::RoundingModeRTE,
       Capability::SignedZeroInfNanPreserve},
      {}, context);
}

/// The conversion of loops leaves undefined what a loop without turns results
/// in: that is what it began with.
void keepInitialValues(func::FuncOp kernel) {
  kernel.walk([](scf::ForOp loop) {
    ImplicitLocOpBuilder b(loop.getLoc(), loop.getContext());
    b.setInsertionPointAfter(loop);
    Value hasTurns;
    for (auto [result, first] :
         llvm::zip(loop.getResults(), loop.getInitArgs())) {
      if (result.use_empty())
        continue;
      if (!hasTurns)
        hasTurns =
            arith::CmpIOp::create(b, arith::CmpIPredicate::slt,
                                  loop.getLowerBound(), loop.getUpperBound());
      auto chosen = arith::SelectOp::create(b, hasTurns, result, first);
      result.replaceAllUsesExcept(chosen, chosen);
    }
  });
}

/// The conversion has no indices of single bits.
void widenBits(func::FuncOp kernel) {
  kernel.walk([](arith::IndexCastUIOp op) {
    if (!op.getIn().getType().isInteger(1))
      return;
    OpBuilder b(op);
    op.getInMutable().assign(
        arith::ExtUIOp::create(b, op.getLoc(), b.getI32Type(), op.getIn()));
  });
}

class Converter {
public:
  explicit Converter(ModuleOp module)
      : module(module), environment(getEnvironment(module.getContext())) {}

  LogicalResult run(func::FuncOp kernel);

private:
  LogicalResult convert();
  void makeShader(spirv::FuncOp function);

  ModuleOp module;
  spirv::VerCapExtAttr environment;
};

LogicalResult Converter::convert() {
  MLIRContext *context = module.getContext();
  auto targetEnv = spirv::TargetEnvAttr::get(
      environment, spirv::getDefaultResourceLimits(context),
      spirv::ClientAPI::Vulkan, spirv::Vendor::Unknown,
      spirv::DeviceType::Unknown, spirv::TargetEnvAttr::kUnknownDeviceID);
  SPIRVConversionOptions options;
  options.use64bitIndex = true;
  options.emulateLT32BitScalarTypes = false;
  SPIRVTypeConverter types(targetEnv, options);
  // Of bf16, only the bits are moved.
  types.addConversion([](FloatType type) -> std::optional<Type> {
    if (type.isBF16())
      return IntegerType::get(type.getContext(), 16);
    return std::nullopt;
  });
  types.addConversion([&](VectorType type) -> std::optional<Type> {
    if (type.getElementType().isBF16())
      return types.convertType(
          type.clone(IntegerType::get(type.getContext(), 16)));
    return std::nullopt;
  });
  ScfToSPIRVContext loops;
  RewritePatternSet patterns(context);
  arith::populateArithToSPIRVPatterns(types, patterns);
  populateBuiltinFuncToSPIRVPatterns(types, patterns);
  populateFuncToSPIRVPatterns(types, patterns);
  populateMathToSPIRVPatterns(types, patterns);
  populateSCFToSPIRVPatterns(types, loops, patterns);
  populateVectorToSPIRVPatterns(types, patterns);
  ub::populateUBToSPIRVConversionPatterns(types, patterns);
  std::unique_ptr<SPIRVConversionTarget> target =
      SPIRVConversionTarget::get(targetEnv);
  target->addLegalOp<ModuleOp>();
  return applyFullConversion(module, *target, std::move(patterns));
}

/// Whatever a compiler for the device makes of it, every product is rounded:
/// the shares of a kernel for many tokens and for few must do the same.
void forbidContraction(spirv::FuncOp function) {
  function.walk([](Operation *op) {
    if (isa<spirv::FAddOp, spirv::FSubOp, spirv::FMulOp>(op))
      op->setAttr("no_contraction", UnitAttr::get(op->getContext()));
  });
}

void Converter::makeShader(spirv::FuncOp function) {
  Location loc = function.getLoc();
  auto b = OpBuilder::atBlockEnd(module.getBody());
  auto shader = spirv::ModuleOp::create(
      b, loc, spirv::AddressingModel::PhysicalStorageBuffer64,
      spirv::MemoryModel::GLSL450, environment);
  SmallVector<Attribute> variables;
  Block *body = shader.getBody();
  for (Operation &op : llvm::make_early_inc_range(*module.getBody())) {
    if (auto variable = dyn_cast<spirv::GlobalVariableOp>(op))
      variables.push_back(SymbolRefAttr::get(variable));
    else if (!isa<spirv::FuncOp>(op))
      continue;
    op.moveBefore(body, body->end());
  }
  b.setInsertionPointToEnd(body);
  spirv::EntryPointOp::create(b, loc, spirv::ExecutionModel::GLCompute,
                              function, variables);
  auto set = [&](spirv::ExecutionMode mode, ArrayRef<int32_t> values) {
    spirv::ExecutionModeOp::create(b, loc, function, mode, values);
  };
  set(spirv::ExecutionMode::LocalSize, {int32_t(kWarp), 1, 1});
  // Floats as they are on CPUs: f16 are rounded to even, masks are infinite.
  set(spirv::ExecutionMode::RoundingModeRTE, {16});
  set(spirv::ExecutionMode::SignedZeroInfNanPreserve, {32});
}

LogicalResult Converter::run(func::FuncOp kernel) {
  keepInitialValues(kernel);
  widenBits(kernel);
  kernel.setSymName(kEntry);
  // (The patterns refuse attributes that they do not know.)
  kernel->removeAttr(LumenDialect::kKernelAttr);
  if (failed(convert()))
    return failure();
  auto function = cast<spirv::FuncOp>(module.lookupSymbol(kEntry));
  forbidContraction(function);
  makeShader(function);
  return success();
}

struct ConvertToSpirvPass final
    : lumen::impl::ConvertToSpirvPassBase<ConvertToSpirvPass> {
  using ConvertToSpirvPassBase::ConvertToSpirvPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (!vulkan::isTarget(module))
      return;
    SmallVector<func::FuncOp> kernels = vulkan::getKernels(module);
    if (kernels.size() != 1) {
      module.emitError("has ")
          << kernels.size() << " kernels, but a shader is made of one";
      return signalPassFailure();
    }
    for (auto format : llvm::make_early_inc_range(module.getOps<FormatOp>()))
      format.erase();
    if (failed(Converter(module).run(kernels.front())))
      signalPassFailure();
  }
};

} // namespace
