/*===- lumen_tokenizer.h - Text to tokens and back ---------------*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0
|*
|*===----------------------------------------------------------------------===*|
|*
|* Reads a tokenizer.bin, which `lumen compile --bundle` has written, and gives
|* the tokens and texts that Lumen's Python gives. Plain C11; nothing is thrown,
|* and no C++ type is passed.
|*
|*   lumen_tokenizer *tokenizer;
|*   char error[LUMEN_ERROR_SIZE];
|*   if (lumen_tokenizer_open("tokenizer.bin", &tokenizer, error,
sizeof(error)))
|*     fprintf(stderr, "%s\n", error);
|*
|* Functions that can fail return a lumen_status (lumen.h), which is 0 where
|* nothing went wrong, and write one line of text to `error` (which may be
NULL).
|* Several threads may use one tokenizer. A decoder is for one at a time.
|*
\*===----------------------------------------------------------------------===*/

#ifndef LUMEN_TOKENIZER_H
#define LUMEN_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lumen_tokenizer lumen_tokenizer;
typedef struct lumen_decoder lumen_decoder;

int lumen_tokenizer_open(const char *path, lumen_tokenizer **tokenizer,
                         char *error, size_t error_size);
/* NULL does nothing. */
void lumen_tokenizer_close(lumen_tokenizer *tokenizer);

/* Tokens in the vocabulary. */
int lumen_tokenizer_size(const lumen_tokenizer *tokenizer);
/* The tokens that begin and end a text; -1 where there is none. */
int lumen_tokenizer_bos(const lumen_tokenizer *tokenizer);
int lumen_tokenizer_eos(const lumen_tokenizer *tokenizer);
/* 1 for a token at which a model's text ends. */
int lumen_tokenizer_ends(const lumen_tokenizer *tokenizer, int32_t token);

/* Flags of lumen_tokenizer_encode, to be joined by |. */
enum {
  LUMEN_TEXT_ONLY = 1, /* control tokens written in the text are text */
  LUMEN_NO_BOS = 2,    /* no token that begins a text is added */
  LUMEN_NO_EOS = 4,    /* no token that ends a text is added */
  LUMEN_BEHIND = 8     /* the text stands behind a control token */
};

/* The tokens of `bytes` bytes of UTF-8. The first `capacity` of them go to
 * `tokens` (which may be NULL where that is 0), and `count` says how many there
 * are. Fails for what is not UTF-8, and for tokens that the model has not. */
int lumen_tokenizer_encode(const lumen_tokenizer *tokenizer, const char *text,
                           size_t bytes, int flags, int32_t *tokens,
                           size_t capacity, size_t *count, char *error,
                           size_t error_size);

/* The tokens of a user's message with what the model's chat template writes
 * around it, so that the model answers. Control tokens written in the message
 * are text. Fails where the model has no template, or one that does more. */
int lumen_tokenizer_encode_chat(const lumen_tokenizer *tokenizer,
                                const char *text, size_t bytes, int32_t *tokens,
                                size_t capacity, size_t *count, char *error,
                                size_t error_size);

/* Flags of lumen_decoder_new. */
enum {
  LUMEN_SPECIAL = 1, /* control tokens are shown as they are written */
  LUMEN_BEGINS = 2   /* the tokens begin a text */
};

/* Turns tokens into text as they come. The tokenizer must outlive it. */
int lumen_decoder_new(const lumen_tokenizer *tokenizer, int flags,
                      lumen_decoder **decoder, char *error, size_t error_size);
/* The text that `token` completes: whole characters of UTF-8, perhaps none.
 * Broken characters become U+FFFD. `text` ends in a zero, and is valid until
 * the decoder is used again. */
int lumen_decoder_feed(lumen_decoder *decoder, int32_t token, const char **text,
                       size_t *bytes, char *error, size_t error_size);
/* What is left at the end: U+FFFD for a character that never became whole. */
int lumen_decoder_finish(lumen_decoder *decoder, const char **text,
                         size_t *bytes, char *error, size_t error_size);
void lumen_decoder_free(lumen_decoder *decoder);

#ifdef __cplusplus
}
#endif
#endif
