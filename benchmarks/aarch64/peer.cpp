// SPDX-License-Identifier: Apache-2.0
//
// Calls a product of another project once, on zeros: PROGRAM TOKENS ROWS
// COLUMNS. KERNEL is its function, and KLEIDIAI or the way that llama.cpp calls
// it says what it takes.
#include <cfloat>
#include <cstddef>
#include <cstdlib>

#if defined(KLEIDIAI)
extern "C" void KERNEL(size_t, size_t, size_t, size_t, const void *,
                       const void *, float *, size_t, size_t, float, float);
#elif defined(VECTORS)
extern "C" void KERNEL(int, float *, size_t, const void *, size_t, const void *,
                       size_t, int);
#else
extern "C" void KERNEL(int, float *, size_t, const void *, const void *, int,
                       int);
#endif

int main(int argc, char **argv) {
  if (argc != 4)
    return 2;
  size_t tokens = std::atoi(argv[1]), rows = std::atoi(argv[2]),
         columns = std::atoi(argv[3]);
  // Nothing takes more than two bytes a code.
  void *activations = std::calloc(2 * tokens + 64, columns),
       *weights = std::calloc(2 * rows + 64, columns);
  float *result =
      static_cast<float *>(std::calloc(tokens * rows + 64, sizeof(float)));
#if defined(KLEIDIAI)
  KERNEL(tokens, rows, columns, 32, activations, weights, result,
         rows * sizeof(float), sizeof(float), -FLT_MAX, FLT_MAX);
#elif defined(VECTORS)
  // As in ggml_compute_forward_mul_mat: VECTORS rows with as many tokens a
  // call.
  for (size_t token = 0; token < tokens; token += tokens == 1 ? 1 : VECTORS)
    for (size_t row = 0; row < rows; row += tokens == 1 ? 1 : VECTORS)
      KERNEL(columns, result + token * rows + row, rows, weights, columns,
             activations, columns, tokens == 1 ? 1 : VECTORS);
#else
  KERNEL(columns, result, rows, weights, activations, tokens, rows);
#endif
}
