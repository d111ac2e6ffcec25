// SPDX-License-Identifier: Apache-2.0
//
// Reads a prompt some times with llama.cpp, as `llama-bench -p` does: PROGRAM
// MODEL TOKENS TIMES FLASH. One thread; FLASH is 1 for its flash attention,
// else 0.
#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int argc, char **argv) {
  if (argc != 5)
    return 2;
  int tokens = std::atoi(argv[2]), times = std::atoi(argv[3]);
  llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
  llama_backend_init();
  llama_model *model =
      llama_model_load_from_file(argv[1], llama_model_default_params());
  if (!model) {
    std::fprintf(stderr, "%s cannot be opened\n", argv[1]);
    return 1;
  }
  llama_context_params parameters = llama_context_default_params();
  parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = tokens;
  parameters.n_threads = parameters.n_threads_batch = 1;
  parameters.flash_attn_type = std::atoi(argv[4])
                                   ? LLAMA_FLASH_ATTN_TYPE_ENABLED
                                   : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  llama_context *context = llama_init_from_model(model, parameters);
  if (!context)
    return 1;
  std::vector<llama_token> prompt(tokens);
  for (int i = 0; i < tokens; ++i)
    prompt[i] = 1 + i % 100;
  for (int i = 0; i < times; ++i) {
    llama_memory_clear(llama_get_memory(context), false);
    if (llama_decode(context, llama_batch_get_one(prompt.data(), tokens)))
      return 1;
    llama_synchronize(context);
  }
  llama_free(context);
  llama_model_free(model);
}
