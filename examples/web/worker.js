// SPDX-License-Identifier: Apache-2.0
//
// Runs the model beside the page, which stays usable meanwhile.

import { Model } from "./model.js";
import { Text } from "./text.js";

const CONTEXT = 1024;

async function bytes(name) {
  const response = await fetch(`bundle/${name}`);
  if (!response.ok) {
    throw new Error(`bundle/${name}: ${response.status} ${response.statusText}`);
  }
  return response.arrayBuffer();
}

async function open() {
  const [code, weights, textCode, tokenizer] = await Promise.all(
    ["model.wasm", "weights.lumen", "text.wasm", "tokenizer.bin"].map(bytes),
  );
  const model = await Model.open(code, weights, CONTEXT);
  const text = await Text.open(textCode, new Uint8Array(tokenizer));
  return { model, text };
}

function* generate({ model, text }, prompt, most, options) {
  const sampler = text.sampler({ ...model.sampling, ...options });
  const decoder = text.decoder();
  try {
    let tokens = text.encode(prompt);
    if (!tokens.length) {
      throw new Error("the prompt is empty");
    }
    sampler.accept(tokens);
    model.reset();
    for (let count = 0; count < most && model.position + tokens.length <= model.context; count++) {
      const token = sampler.sample(model.step(tokens));
      if (text.ends(token)) {
        break;
      }
      tokens = Int32Array.of(token);
      yield decoder.feed(token);
    }
    yield decoder.finish();
  } finally {
    sampler.free();
    decoder.free();
  }
}

const opened = open();

onmessage = async ({ data: { prompt, most, options } }) => {
  try {
    const both = await opened;
    let count = 0;
    const begin = performance.now();
    for (const piece of generate(both, prompt, most, options)) {
      count++;
      postMessage({ piece });
    }
    postMessage({ done: true, count, seconds: (performance.now() - begin) / 1000 });
  } catch (error) {
    postMessage({ error: error.message });
  }
};
