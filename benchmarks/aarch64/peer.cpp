// SPDX-License-Identifier: Apache-2.0
//
// Calls a product of another project once, on zeros: PROGRAM TOKENS ROWS
// COLUMNS. KERNEL is its function, and KLEIDIAI or the way that llama.cpp calls
// it (BLOCKS, AT_ONCE) says what it takes.
#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

// What llama.cpp's products take from its other files: a table of the values of
// scales, and a team of one thread.
extern "C" {
float ggml_table_f32_ue4m3[256];
static int chunk;
void ggml_barrier(void *) {}
void ggml_threadpool_chunk_set(void *, int value) { chunk = value; }
int ggml_threadpool_chunk_add(void *, int value) {
  return (chunk += value) - value;
}
}

#if defined(KLEIDIAI)
extern "C" void KERNEL(size_t, size_t, size_t, size_t, const void *,
                       const void *, float *, size_t, size_t, float, float);
#elif defined(BLOCKS)
struct ggml_compute_params {
  int thread, threads;
  size_t bytes;
  void *memory, *team;
  bool reference;
};
extern "C" bool KERNEL(const ggml_compute_params *, int64_t, int64_t, int64_t,
                       const void *, int64_t, const void *, int64_t, void *,
                       int64_t, int, int, int);
constexpr int f32 = 0, f16 = 1; // ggml's numbers
#elif defined(AT_ONCE)
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
#elif defined(BLOCKS)
  ggml_compute_params alone{0, 1, 0, nullptr, nullptr, false};
  if (!KERNEL(&alone, rows, tokens, columns, weights, columns, activations,
              columns, result, rows, f16, f16, f32))
    return 3;
#elif defined(AT_ONCE)
  // As in ggml_compute_forward_mul_mat.
  for (size_t token = 0; token < tokens; token += AT_ONCE)
    for (size_t row = 0; row < rows; row += AT_ONCE)
      KERNEL(columns, result + token * rows + row, rows, weights, columns,
             activations, columns, AT_ONCE);
#else
  KERNEL(columns, result, rows, weights, activations, tokens, rows);
#endif
}
