// SPDX-License-Identifier: Apache-2.0
//
// Reads prompts with llama.cpp, as `llama-bench` does, and then single tokens:
// PROGRAM MODEL TOKENS PROMPTS SINGLE FLASH. A token comes before all that, to
// warm up. One thread; FLASH is 1 for its flash attention, else 0.
#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int argc, char **argv) {
  if (argc != 6)
    return 2;
  int count = std::atoi(argv[2]), prompts = std::atoi(argv[3]),
      single = std::atoi(argv[4]);
  llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
  llama_backend_init();
  llama_model *model =
      llama_model_load_from_file(argv[1], llama_model_default_params());
  if (!model) {
    std::fprintf(stderr, "%s cannot be opened\n", argv[1]);
    return 1;
  }
  llama_context_params parameters = llama_context_default_params();
  parameters.n_ctx = count + 64;
  parameters.n_batch = parameters.n_ubatch = count;
  parameters.n_threads = parameters.n_threads_batch = 1;
  parameters.flash_attn_type = std::atoi(argv[5])
                                   ? LLAMA_FLASH_ATTN_TYPE_ENABLED
                                   : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  llama_context *context = llama_init_from_model(model, parameters);
  if (!context)
    return 1;
  std::vector<llama_token> tokens(count);
  for (int i = 0; i < count; ++i)
    tokens[i] = 1 + i % 100;
  auto read = [&](int number) {
    bool failed =
        llama_decode(context, llama_batch_get_one(tokens.data(), number));
    llama_synchronize(context);
    return !failed;
  };
  if (!read(1))
    return 1;
  llama_memory_clear(llama_get_memory(context), false);
  for (int i = 0; i < prompts; ++i) {
    llama_memory_clear(llama_get_memory(context), false);
    if (!read(count))
      return 1;
  }
  for (int i = 0; i < single; ++i)
    if (!read(1))
      return 1;
  llama_free(context);
  llama_model_free(model);
}
