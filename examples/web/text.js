// SPDX-License-Identifier: Apache-2.0
//
// Tokens, text and sampling: text.cpp as a module of WebAssembly.

const utf8 = new TextEncoder();

/** What a module that WASI is linked with asks of the system; it only gets random bytes. */
function system(memory) {
  const bad = () => 8; // EBADF: there are no files
  return {
    fd_close: bad,
    fd_seek: bad,
    fd_write: bad,
    random_get(place, size) {
      crypto.getRandomValues(new Uint8Array(memory().buffer, place, size));
      return 0;
    },
  };
}

export class Text {
  /** `module`: the bytes of text.wasm; `tokenizer`: of a tokenizer.bin. Throws an Error. */
  static async open(module, tokenizer) {
    const text = new Text();
    const imports = {
      page: {
        fail(place, size) {
          throw new Error(text.read(place, size));
        },
      },
      wasi_snapshot_preview1: system(() => text.exports.memory),
    };
    const { instance } = await WebAssembly.instantiate(module, imports);
    text.exports = instance.exports;
    text.exports._initialize();
    text.size = text.exports.allocate(4);
    text.tokenizer = text.lend(tokenizer, (place, size) => text.exports.tokenizer_open(place, size));
    return text;
  }

  /** The tokens of a prompt: Int32Array. */
  encode(prompt) {
    const { exports } = this;
    const count = this.lend(utf8.encode(prompt), (place, size) =>
      exports.tokenizer_encode(this.tokenizer, place, size),
    );
    return new Int32Array(exports.memory.buffer, exports.tokens(), count).slice();
  }

  /** Whether a text ends at a token. */
  ends(token) {
    return this.exports.tokenizer_ends(this.tokenizer, token) !== 0;
  }

  /** Turns tokens behind a prompt into text as they come. */
  decoder() {
    const { exports } = this;
    const decoder = exports.decoder_new(this.tokenizer);
    const whole = (place) => this.read(place, new Uint32Array(exports.memory.buffer, this.size, 1)[0]);
    return {
      feed: (token) => whole(exports.decoder_feed(decoder, token, this.size)),
      finish: () => whole(exports.decoder_finish(decoder, this.size)),
      free: () => exports.decoder_free(decoder),
    };
  }

  /** Draws tokens as `lumen generate` does; `seed`: -1 for another one each time. */
  sampler({ temperature, topK, topP, minP, repeatPenalty, seed }) {
    const { exports } = this;
    const sampler = exports.sampler_new(temperature, topK, topP, minP, repeatPenalty, seed);
    return {
      accept: (tokens) => this.lend(tokens, (place) => exports.sampler_accept(sampler, place, tokens.length)),
      sample: (logits) => this.lend(logits, (place) => exports.sampler_sample(sampler, place, logits.length)),
      free: () => exports.sampler_free(sampler),
    };
  }

  read(place, size) {
    return new TextDecoder().decode(new Uint8Array(this.exports.memory.buffer, place, size));
  }

  /** Calls `use` with the place and the bytes of a copy of an array in the module's memory. */
  lend(array, use) {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    const place = this.exports.allocate(bytes.length);
    try {
      new Uint8Array(this.exports.memory.buffer).set(bytes, place);
      return use(place, bytes.length);
    } finally {
      this.exports.release(place);
    }
  }
}
