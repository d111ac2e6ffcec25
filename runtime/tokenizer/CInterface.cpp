//===- CInterface.cpp - The interface for C -------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/embed/Failure.h"
#include "runtime/tokenizer/Tokenizer.h"
#include "runtime/tokenizer/lumen_tokenizer.h"

#include <algorithm>

using namespace mlir::lumen;
using namespace mlir::lumen::tokenizer;

struct lumen_tokenizer {
  Tokenizer tokenizer;
};

struct lumen_decoder {
  Decoder decoder;
};

static void require(bool given, const char *what) {
  if (!given)
    throw Failure{LUMEN_ERROR_ARGUMENT, std::string(what) + " is NULL"};
}

int lumen_tokenizer_open(const char *path, lumen_tokenizer **tokenizer,
                         char *error, size_t error_size) {
  return guarded(error, error_size, [&] {
    require(tokenizer, "the place for the tokenizer");
    *tokenizer = nullptr;
    require(path, "the path");
    *tokenizer = new lumen_tokenizer{Tokenizer(File(path))};
  });
}

void lumen_tokenizer_close(lumen_tokenizer *tokenizer) { delete tokenizer; }

int lumen_tokenizer_size(const lumen_tokenizer *tokenizer) {
  return tokenizer ? tokenizer->tokenizer.file().tokens : 0;
}

int lumen_tokenizer_bos(const lumen_tokenizer *tokenizer) {
  return tokenizer ? tokenizer->tokenizer.file().bos : -1;
}

int lumen_tokenizer_eos(const lumen_tokenizer *tokenizer) {
  return tokenizer ? tokenizer->tokenizer.file().eos : -1;
}

int lumen_tokenizer_ends(const lumen_tokenizer *tokenizer, int32_t token) {
  return tokenizer && tokenizer->tokenizer.ends(token);
}

/// Checks what both ways to encode are given, and hands out what `encode`
/// makes of the text.
template <typename Encode>
static void handOut(const lumen_tokenizer *tokenizer, const char *text,
                    size_t bytes, int32_t *tokens, size_t capacity,
                    size_t *count, Encode encode) {
  require(count, "the place for the count");
  *count = 0;
  require(tokenizer, "the tokenizer");
  require(text || !bytes, "the text");
  require(tokens || !capacity, "the place for tokens");
  std::vector<int32_t> ids =
      encode(bytes ? std::string_view(text, bytes) : std::string_view());
  *count = ids.size();
  std::copy_n(ids.begin(), std::min(capacity, ids.size()), tokens);
}

int lumen_tokenizer_encode(const lumen_tokenizer *tokenizer, const char *text,
                           size_t bytes, int flags, int32_t *tokens,
                           size_t capacity, size_t *count, char *error,
                           size_t error_size) {
  return guarded(error, error_size, [&] {
    EncodeOptions options;
    options.special = !(flags & LUMEN_TEXT_ONLY);
    options.addBos = !(flags & LUMEN_NO_BOS);
    options.addEos = !(flags & LUMEN_NO_EOS);
    options.begins = !(flags & LUMEN_BEHIND);
    handOut(tokenizer, text, bytes, tokens, capacity, count,
            [&](std::string_view whole) {
              return tokenizer->tokenizer.encode(whole, options);
            });
  });
}

int lumen_tokenizer_encode_chat(const lumen_tokenizer *tokenizer,
                                const char *text, size_t bytes, int32_t *tokens,
                                size_t capacity, size_t *count, char *error,
                                size_t error_size) {
  return guarded(error, error_size, [&] {
    handOut(tokenizer, text, bytes, tokens, capacity, count,
            [&](std::string_view message) {
              return tokenizer->tokenizer.encodeTurn(message);
            });
  });
}

int lumen_decoder_new(const lumen_tokenizer *tokenizer, int flags,
                      lumen_decoder **decoder, char *error, size_t error_size) {
  return guarded(error, error_size, [&] {
    require(decoder, "the place for the decoder");
    *decoder = nullptr;
    require(tokenizer, "the tokenizer");
    *decoder = new lumen_decoder{Decoder(
        tokenizer->tokenizer, flags & LUMEN_SPECIAL, flags & LUMEN_BEGINS)};
  });
}

/// Hands out text that the decoder keeps.
static void give(const std::string &found, const char **text, size_t *bytes) {
  *text = found.c_str();
  if (bytes)
    *bytes = found.size();
}

int lumen_decoder_feed(lumen_decoder *decoder, int32_t token, const char **text,
                       size_t *bytes, char *error, size_t error_size) {
  return guarded(error, error_size, [&] {
    require(decoder, "the decoder");
    require(text, "the place for the text");
    give(decoder->decoder.feed(token), text, bytes);
  });
}

int lumen_decoder_finish(lumen_decoder *decoder, const char **text,
                         size_t *bytes, char *error, size_t error_size) {
  return guarded(error, error_size, [&] {
    require(decoder, "the decoder");
    require(text, "the place for the text");
    give(decoder->decoder.finish(), text, bytes);
  });
}

void lumen_decoder_free(lumen_decoder *decoder) { delete decoder; }
