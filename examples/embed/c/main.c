/* SPDX-License-Identifier: Apache-2.0
 *
 * Continues a text: continue BUNDLE PROMPT [TOKENS [TEMPERATURE [SEED]]]
 *
 * Without a temperature, it takes the likeliest token each time. */
#include "lumen.h"
#include "lumen_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is opened, and closed at the end, whatever happens between. */
typedef struct {
  lumen_model *model;
  lumen_tokenizer *tokenizer;
  lumen_decoder *decoder;
  lumen_sampler *sampler;
  int32_t *tokens;
  float *logits;
  char error[LUMEN_ERROR_SIZE];
} State;

static int open_all(State *state, const char *bundle, lumen_sampling sampling) {
  char *error = state->error;
  const size_t size = sizeof(state->error);
  char path[4096];
  int status = lumen_open(bundle, NULL, &state->model, error, size);
  if (status != LUMEN_OK)
    return status;
  snprintf(path, sizeof(path), "%s/tokenizer.bin", bundle);
  status = lumen_tokenizer_open(path, &state->tokenizer, error, size);
  if (status != LUMEN_OK)
    return status;
  status = lumen_decoder_new(state->tokenizer, 0, &state->decoder, error, size);
  if (status != LUMEN_OK)
    return status;
  state->logits = malloc(sizeof(float) * lumen_vocabulary(state->model));
  state->tokens = malloc(sizeof(int32_t) * lumen_context(state->model));
  if (!state->logits || !state->tokens) {
    strcpy(error, "there is not enough memory");
    return LUMEN_ERROR_MEMORY;
  }
  return lumen_sampler_new(&sampling, &state->sampler, error, size);
}

static int generate(State *state, const char *prompt, int most) {
  char *error = state->error;
  const size_t size = sizeof(state->error);
  const size_t context = lumen_context(state->model);
  size_t count = 0;
  int status = lumen_tokenizer_encode(state->tokenizer, prompt, strlen(prompt),
                                      LUMEN_NO_EOS, state->tokens, context,
                                      &count, error, size);
  if (status != LUMEN_OK)
    return status;
  if (count == 0 || count > context) {
    snprintf(error, size, "the prompt has %zu tokens; 1 to %zu were expected",
             count, context);
    return LUMEN_ERROR_CONTEXT;
  }
  status = lumen_sampler_accept(state->sampler, state->tokens, (int)count,
                                error, size);
  const int32_t *next = state->tokens;
  int length = (int)count;
  int32_t token;
  for (int made = 0; status == LUMEN_OK && made < most; ++made) {
    if (lumen_position(state->model) + length > (int)context)
      break;
    status = lumen_step(state->model, next, length, state->logits, error, size);
    if (status == LUMEN_OK)
      status = lumen_sampler_sample(state->sampler, state->logits,
                                    lumen_vocabulary(state->model), &token,
                                    error, size);
    if (status != LUMEN_OK || lumen_tokenizer_ends(state->tokenizer, token))
      break;
    const char *text;
    size_t bytes;
    status =
        lumen_decoder_feed(state->decoder, token, &text, &bytes, error, size);
    if (status != LUMEN_OK)
      break;
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
    next = &token;
    length = 1;
  }
  putchar('\n');
  return status;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr,
            "usage: continue BUNDLE PROMPT [TOKENS [TEMPERATURE [SEED]]]\n");
    return 2;
  }
  lumen_sampling sampling = lumen_default_sampling(NULL);
  sampling.temperature = argc > 4 ? atof(argv[4]) : 0;
  sampling.seed = argc > 5 ? atoll(argv[5]) : -1;
  State state = {0};
  int status = open_all(&state, argv[1], sampling);
  if (status == LUMEN_OK)
    status = generate(&state, argv[2], argc > 3 ? atoi(argv[3]) : 64);
  if (status != LUMEN_OK)
    fprintf(stderr, "continue: %s\n", state.error);
  free(state.tokens);
  free(state.logits);
  lumen_sampler_free(state.sampler);
  lumen_decoder_free(state.decoder);
  lumen_tokenizer_close(state.tokenizer);
  lumen_close(state.model);
  return status;
}
