/*===- lumen.h - Runs a compiled model without Python ------------*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0
|*
|*===----------------------------------------------------------------------===*|
|*
|* The interface of liblumen_runtime: a model that `lumen compile --bundle` has
|* made, its steps, and sampling. Plain C11; nothing is thrown, and no C++ type
|* is passed.
|*
|*   lumen_model *model;
|*   char error[LUMEN_ERROR_SIZE];
|*   if (lumen_open("bundle", NULL, &model, error, sizeof(error)) != LUMEN_OK)
|*     fprintf(stderr, "%s\n", error);
|*   float *logits = malloc(sizeof(float) * lumen_vocabulary(model));
|*   lumen_step(model, tokens, count, logits);
|*
|* Functions that can fail return a lumen_status and write one line of text,
|* without a newline and always ended by a zero, to `error` (which may be NULL).
|* A model or sampler may be used by one thread at a time; different ones at the
|* same time.
|*
\*===----------------------------------------------------------------------===*/

#ifndef LUMEN_H
#define LUMEN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of Lumen: code, weights and library belong to one version. */
#define LUMEN_VERSION "0.1.0"
/* Counts up when a function or structure of this file changes. */
#define LUMEN_API_VERSION 2
/* Enough for every message. */
#define LUMEN_ERROR_SIZE 512

typedef enum lumen_status {
  LUMEN_OK = 0,
  LUMEN_ERROR_ARGUMENT = 1, /* an argument is out of its range */
  LUMEN_ERROR_FILE = 2,     /* a file cannot be opened or read */
  LUMEN_ERROR_DAMAGED = 3,  /* a file is not what it must be */
  LUMEN_ERROR_VERSION = 4,  /* file, code and library are not of one version */
  LUMEN_ERROR_TARGET = 5,   /* the code is for another architecture */
  LUMEN_ERROR_CPU = 6,      /* this CPU lacks instructions of the code */
  LUMEN_ERROR_MEMORY = 7,   /* there is no memory, or no thread */
  LUMEN_ERROR_CONTEXT = 8,  /* the tokens do not fit the context */
  LUMEN_ERROR_LOGITS = 9    /* no token can be drawn from the logits */
} lumen_status;

/* LUMEN_VERSION of the library. */
const char *lumen_version(void);
/* LUMEN_API_VERSION of the library. */
int lumen_api_version(void);
/* A few words for a status, for a caller without the text of the error. */
const char *lumen_status_text(int status);

/*===--- Compiled code ---------------------------------------------------===*/

/* The thread of a team that runs a function. */
typedef struct lumen_worker lumen_worker;
/* A compiled function. Its slots are 64-bit words, which the header of
 * `lumen compile --header` lists. */
typedef void (*lumen_entry)(uint64_t *slots, lumen_worker *worker);

/* Threads that run one function together. */
typedef struct lumen_team lumen_team;
/* `threads`: 1 to 1,024, or 0 for as many as there are physical cores. */
int lumen_team_new(int threads, lumen_team **team, char *error,
                   size_t error_size);
/* Returns when all threads have left the function. */
void lumen_team_run(lumen_team *team, lumen_entry entry, uint64_t *slots);
/* NULL does nothing. */
void lumen_team_free(lumen_team *team);

/* The code of a model, as `lumen compile --output FILE.so` exports it. The
 * header beside it has a function that fills this in. */
typedef struct lumen_code {
  const char *text;    /* lumen_code_text: what the code is, and takes */
  lumen_entry step;    /* lumen_entry_step */
  int64_t arena_bytes; /* lumen_arena_size_step */
} lumen_code;

/*===--- Models ----------------------------------------------------------===*/

typedef struct lumen_model lumen_model;

/* Zeros (or NULL in its place) are the usual. */
typedef struct lumen_options {
  /* Of the team; 0: as many as there are physical cores (of those that the
   * process may use). */
  int threads;
  /* Tokens that the KV cache holds; 0: the model's own length, at most 32,768.
   * Not more than the model's own. */
  int context;
  /* 1: do not read all weights to compare their checksum. */
  int skip_checksum;
  /* The code of the model; NULL: what the library was built with, as that of a
   * bundle is. */
  const lumen_code *code;
} lumen_options;

/* Opens a bundle, the folder that `lumen compile --bundle` has written. */
int lumen_open(const char *bundle, const lumen_options *options,
               lumen_model **model, char *error, size_t error_size);
/* NULL does nothing. */
void lumen_close(lumen_model *model);

/* Runs `count` tokens (1 or more, as many as the context has room for) behind
 * those before, and writes the logits of the last one: vocabulary floats; NULL
 * where they are not wanted. */
int lumen_step(lumen_model *model, const int32_t *tokens, int count,
               float *logits, char *error, size_t error_size);
/* The tokens that the KV cache holds: where the next step begins. */
int lumen_position(const lumen_model *model);
/* Forgets all tokens from `position` on (0: all). Fails where the cache does
 * not hold what a step there would look back on (sliding windows forget). */
int lumen_rewind(lumen_model *model, int position, char *error,
                 size_t error_size);

/* 0 and "" of NULL. */
int lumen_context(const lumen_model *model);
int lumen_vocabulary(const lumen_model *model);
int lumen_threads(const lumen_model *model);
/* "armv8-a": the target of the code. Valid until the model is closed. */
const char *lumen_target(const lumen_model *model);
/* What its makers call it. Valid until the model is closed. */
const char *lumen_name(const lumen_model *model);

/*===--- Sampling --------------------------------------------------------===*/

typedef struct lumen_sampler lumen_sampler;

/* As `lumen generate` has them. */
typedef struct lumen_sampling {
  double temperature;       /* 0: the likeliest token */
  int top_k;                /* 0: all */
  double typical_p;         /* 1: all */
  double top_p;             /* 1: all */
  double min_p;             /* 0: all */
  double repeat_penalty;    /* 1: none */
  int repeat_last;          /* tokens that this penalty looks at: 64 */
  double presence_penalty;  /* for every token drawn before; 0: none */
  double frequency_penalty; /* for each time that it was; 0: none */
  int64_t seed;             /* -1: another one each time */
} lumen_sampling;

/* What the model's makers chose, and Lumen's defaults for the rest. NULL: the
 * defaults. */
lumen_sampling lumen_default_sampling(const lumen_model *model);
int lumen_sampler_new(const lumen_sampling *sampling, lumen_sampler **sampler,
                      char *error, size_t error_size);
void lumen_sampler_free(lumen_sampler *sampler);
/* Adds `bias`, from -100 to 100, to the logit of a token at every draw. */
int lumen_sampler_set_bias(lumen_sampler *sampler, int32_t token, double bias,
                           char *error, size_t error_size);
/* Counts tokens (the prompt's) among those that the repeat penalty looks at. */
int lumen_sampler_accept(lumen_sampler *sampler, const int32_t *tokens,
                         int count, char *error, size_t error_size);
/* Draws a token from `count` logits, which stay as they are, and accepts it.
 * The tokens are those that `lumen generate` draws with the same seed. */
int lumen_sampler_sample(lumen_sampler *sampler, const float *logits, int count,
                         int32_t *token, char *error, size_t error_size);

#ifdef __cplusplus
}
#endif
#endif
