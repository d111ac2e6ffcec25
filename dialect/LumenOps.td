// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_OPS
#define LUMEN_OPS

// The model: value semantics on tensors.
include "dialect/FormatOps.td"
include "dialect/ProductOps.td"
include "dialect/RowOps.td"
include "dialect/AttentionOps.td"
include "dialect/ExpertOps.td"
include "dialect/SelectionOps.td"

// Inside of its kernels.
include "dialect/KernelOps.td"
include "dialect/WarpOps.td"

#endif // LUMEN_OPS
