//===- text.cpp - Tokens, text and sampling for a page --------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// The tokenizer and the sampler of a bundle's library as a module of
// WebAssembly, for lumen.js. Sizes and places are in bytes of its memory.
//
// WebAssembly of this compiler has no exceptions. What would throw one calls
// JavaScript instead, which throws an Error with the text. The objects of calls
// that end so are lost.
//
//===----------------------------------------------------------------------===//

#include "runtime/embed/Failure.h"
#include "runtime/sampling/Sampler.h"
#include "runtime/tokenizer/Tokenizer.h"

#include <cstdlib>
#include <cstring>
#include <typeinfo>

using namespace mlir::lumen;
using namespace mlir::lumen::tokenizer;

#define EXPORT(name) extern "C" __attribute__((export_name(#name)))

/// Throws an Error.
extern "C" __attribute__((import_module("page"), import_name("fail"))) void
page_fail(const char *text, size_t size);

static void failWith(const std::string &text) {
  page_fail(text.data(), text.size());
}

//===----------------------------------------------------------------------===//
// What the compiler calls for `throw`
//===----------------------------------------------------------------------===//

extern "C" void *__cxa_allocate_exception(size_t size) {
  return std::malloc(size);
}

extern "C" void __cxa_free_exception(void *object) { std::free(object); }

extern "C" void __cxa_throw(void *object, std::type_info *type,
                            void (*)(void *)) {
  if (*type == typeid(Failure))
    failWith(static_cast<Failure *>(object)->text);
  failWith("there is not enough memory");
  std::abort();
}

/// What the only thread has is never destroyed.
extern "C" int __cxa_thread_atexit(void (*)(void *), void *, void *) {
  return 0;
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

EXPORT(allocate) void *allocate(size_t size) {
  void *place = std::malloc(size);
  if (!place && size)
    failWith("there is not enough memory");
  return place;
}

EXPORT(release) void release(void *place) { std::free(place); }

//===----------------------------------------------------------------------===//
// Tokens
//===----------------------------------------------------------------------===//

/// Of the bytes of a tokenizer.bin.
EXPORT(tokenizer_open)
Tokenizer *openTokenizer(const char *bytes, size_t size) {
  std::unique_ptr<uint64_t[]> copy(new uint64_t[size / sizeof(uint64_t) + 1]);
  std::memcpy(copy.get(), bytes, size);
  return new Tokenizer(File(std::move(copy), size, "tokenizer.bin"));
}

EXPORT(tokenizer_ends)
bool endsText(const Tokenizer *tokenizer, int32_t token) {
  return tokenizer->ends(token);
}

/// The tokens of a text; the last call's until the next one.
static std::vector<int32_t> tokens;

EXPORT(tokenizer_encode)
size_t encode(const Tokenizer *tokenizer, const char *text, size_t size) {
  tokens = tokenizer->encode(std::string_view(text, size), EncodeOptions());
  return tokens.size();
}

EXPORT(tokens) const int32_t *getTokens() { return tokens.data(); }

/// Text behind a prompt.
EXPORT(decoder_new) Decoder *makeDecoder(const Tokenizer *tokenizer) {
  return new Decoder(*tokenizer, /*special=*/false, /*begins=*/false);
}

EXPORT(decoder_free) void freeDecoder(Decoder *decoder) { delete decoder; }

/// The text that a token completes; `size` says how many bytes.
EXPORT(decoder_feed)
const char *feed(Decoder *decoder, int32_t token, size_t *size) {
  const std::string &text = decoder->feed(token);
  *size = text.size();
  return text.data();
}

EXPORT(decoder_finish)
const char *finish(Decoder *decoder, size_t *size) {
  const std::string &text = decoder->finish();
  *size = text.size();
  return text.data();
}

//===----------------------------------------------------------------------===//
// Sampling
//===----------------------------------------------------------------------===//

/// `seed`: -1 for another one each time.
EXPORT(sampler_new)
Sampler *makeSampler(double temperature, int topK, double topP, double minP,
                     double repeatPenalty, int seed) {
  lumen_sampling sampling = getDefaultSampling();
  sampling.temperature = temperature;
  sampling.top_k = topK;
  sampling.top_p = topP;
  sampling.min_p = minP;
  sampling.repeat_penalty = repeatPenalty;
  sampling.seed = seed;
  return new Sampler(sampling);
}

EXPORT(sampler_free) void freeSampler(Sampler *sampler) { delete sampler; }

EXPORT(sampler_accept)
void accept(Sampler *sampler, const int32_t *given, int count) {
  sampler->accept(given, count);
}

EXPORT(sampler_sample)
int32_t sample(Sampler *sampler, const float *logits, int count) {
  return sampler->sample(logits, count);
}
