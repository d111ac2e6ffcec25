//===- Interface.cpp - The C interface ------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/embed/Cores.h"
#include "runtime/embed/Model.h"
#include "runtime/sampling/Sampler.h"

using namespace mlir::lumen;

struct lumen_model : Model {
  using Model::Model;
};
struct lumen_sampler : Sampler {
  using Sampler::Sampler;
};
struct lumen_team : ThreadTeam {
  using ThreadTeam::ThreadTeam;
};

template <typename T> static void expect(const T *pointer, const char *name) {
  if (!pointer)
    fail(LUMEN_ERROR_ARGUMENT, "%s is NULL", name);
}

const char *lumen_version(void) { return LUMEN_VERSION; }

int lumen_api_version(void) { return LUMEN_API_VERSION; }

const char *lumen_status_text(int status) {
  switch (status) {
  case LUMEN_OK:
    return "no error";
  case LUMEN_ERROR_ARGUMENT:
    return "an argument is out of its range";
  case LUMEN_ERROR_FILE:
    return "a file cannot be opened or read";
  case LUMEN_ERROR_DAMAGED:
    return "a file is not what it must be";
  case LUMEN_ERROR_VERSION:
    return "file, code and library are not of one version";
  case LUMEN_ERROR_TARGET:
    return "the code is for another target";
  case LUMEN_ERROR_CPU:
    return "this CPU lacks instructions of the code";
  case LUMEN_ERROR_MEMORY:
    return "there is not enough memory, or no thread";
  case LUMEN_ERROR_CONTEXT:
    return "the tokens do not fit the context";
  case LUMEN_ERROR_LOGITS:
    return "no token can be drawn from the logits";
  }
  return "an unknown status";
}

//===----------------------------------------------------------------------===//
// Teams
//===----------------------------------------------------------------------===//

int lumen_team_new(int threads, lumen_team **team, char *error,
                   size_t errorSize) {
  return guarded(error, errorSize, [&] {
    expect(team, "team");
    *team = nullptr;
    if (threads < 0 || threads > kMostThreads)
      fail(LUMEN_ERROR_ARGUMENT, "threads is %d; 1 to %d, or 0, was expected",
           threads, kMostThreads);
    *team = new lumen_team(threads ? threads : countCores());
  });
}

void lumen_team_run(lumen_team *team, lumen_entry entry, uint64_t *slots) {
  if (team && entry)
    team->run(entry, slots);
}

void lumen_team_free(lumen_team *team) { delete team; }

//===----------------------------------------------------------------------===//
// Models
//===----------------------------------------------------------------------===//

int lumen_open(const char *bundle, const lumen_options *options,
               lumen_model **model, char *error, size_t errorSize) {
  return guarded(error, errorSize, [&] {
    expect(model, "model");
    *model = nullptr;
    expect(bundle, "bundle");
    *model = new lumen_model(bundle, options ? *options : lumen_options{});
  });
}

void lumen_close(lumen_model *model) { delete model; }

int lumen_step(lumen_model *model, const int32_t *tokens, int count,
               float *logits, char *error, size_t errorSize) {
  return guarded(error, errorSize, [&] {
    expect(model, "model");
    model->step(tokens, count, logits);
  });
}

int lumen_position(const lumen_model *model) {
  return model ? model->getPosition() : 0;
}

int lumen_rewind(lumen_model *model, int position, char *error,
                 size_t errorSize) {
  return guarded(error, errorSize, [&] {
    expect(model, "model");
    model->rewind(position);
  });
}

int lumen_context(const lumen_model *model) {
  return model ? model->getContext() : 0;
}

int lumen_vocabulary(const lumen_model *model) {
  return model ? model->getVocabulary() : 0;
}

int lumen_threads(const lumen_model *model) {
  return model ? model->getThreads() : 0;
}

const char *lumen_target(const lumen_model *model) {
  return model ? model->getCode().target.c_str() : "";
}

const char *lumen_name(const lumen_model *model) {
  return model ? model->getWeights().model.c_str() : "";
}

//===----------------------------------------------------------------------===//
// Sampling
//===----------------------------------------------------------------------===//

lumen_sampling lumen_default_sampling(const lumen_model *model) {
  return model ? model->getWeights().sampling : getDefaultSampling();
}

int lumen_sampler_new(const lumen_sampling *sampling, lumen_sampler **sampler,
                      char *error, size_t errorSize) {
  return guarded(error, errorSize, [&] {
    expect(sampler, "sampler");
    *sampler = nullptr;
    *sampler = new lumen_sampler(sampling ? *sampling : getDefaultSampling());
  });
}

void lumen_sampler_free(lumen_sampler *sampler) { delete sampler; }

int lumen_sampler_set_bias(lumen_sampler *sampler, int32_t token, double bias,
                           char *error, size_t errorSize) {
  return guarded(error, errorSize, [&] {
    expect(sampler, "sampler");
    sampler->setBias(token, float(bias));
  });
}

int lumen_sampler_accept(lumen_sampler *sampler, const int32_t *tokens,
                         int count, char *error, size_t errorSize) {
  return guarded(error, errorSize, [&] {
    expect(sampler, "sampler");
    sampler->accept(tokens, count);
  });
}

int lumen_sampler_sample(lumen_sampler *sampler, const float *logits, int count,
                         int32_t *token, char *error, size_t errorSize) {
  return guarded(error, errorSize, [&] {
    expect(sampler, "sampler");
    expect(token, "token");
    *token = sampler->sample(logits, count);
  });
}
