// SPDX-License-Identifier: Apache-2.0
//
// A model of `lumen compile --target wasm32-simd128 --bundle`: its code, its weights, and steps.

// As runtime/embed has them.
const FORMAT = "1";
const BLOCK = 16; // positions of a block of the KV cache
const PAGE = 64; // positions of a page
const HEADER = 64; // bytes
const MEMORY_PAGE = 65536;

/** The lines "key value …" behind the first, which is the version of such texts. */
function lines(text, where) {
  const [first, ...rest] = text.split("\n").filter((line) => line);
  if (first !== `format ${FORMAT}`) {
    throw new Error(`${where}: ${first ?? "nothing"}, from another version of Lumen`);
  }
  return rest.map((line) => line.split(" "));
}

function float64(hexadecimal) {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(`0x${hexadecimal}`));
  return view.getFloat64(0);
}

/** The description and the data of a weights.lumen. Throws an Error. */
function readWeights(buffer) {
  const view = new DataView(buffer);
  const word = (place) => Number(view.getBigUint64(place, true));
  const ascii = (begin, size) => new TextDecoder().decode(new Uint8Array(buffer, begin, size));
  if (buffer.byteLength < HEADER || ascii(0, 8) !== "LUMENWTS") {
    throw new Error("the weights are no weights of Lumen");
  }
  const [textBytes, begin, size] = [word(16), word(24), word(32)];
  if (buffer.byteLength !== begin + size) {
    throw new Error(`the weights have ${buffer.byteLength} bytes instead of ${begin + size}`);
  }
  const weights = { ropes: [], places: [], data: new Uint8Array(buffer, begin, size) };
  for (const [key, ...words] of lines(ascii(HEADER, textBytes), "the weights")) {
    if (key === "code") {
      weights.code = words[0];
    } else if (key === "sampling") {
      const [temperature, topK, topP, minP, repeatPenalty] = words;
      weights.sampling = {
        temperature: float64(temperature),
        topK: Number(topK),
        topP: float64(topP),
        minP: float64(minP),
        repeatPenalty: float64(repeatPenalty),
      };
    } else if (key === "rope") {
      const [dimensions, , offset, threshold, longOffset] = words.map(Number);
      weights.ropes.push({ dimensions, magnitude: float64(words[1]), offset, threshold, longOffset });
    } else if (key === "weight") {
      weights.places.push({ offset: Number(words[0]), size: Number(words[1]), name: words.slice(2).join(" ") });
    }
  }
  return weights;
}

export class Model {
  /** `module`: the bytes of model.wasm; `weights`: the buffer of weights.lumen. Throws an Error. */
  static async open(module, weights, context) {
    const { instance } = await WebAssembly.instantiate(module, {});
    return new Model(instance.exports, readWeights(weights), context);
  }

  constructor(exports, weights, context) {
    this.exports = exports;
    this.sampling = weights.sampling;
    this.end = exports.__heap_base.value;
    this.position = 0;
    const view = new DataView(exports.memory.buffer);
    const begin = exports.lumen_code_text.value;
    const text = new Uint8Array(exports.memory.buffer, begin);
    const code = lines(new TextDecoder().decode(text.subarray(0, text.indexOf(0))), "the code");
    const value = (name) => code.find(([key]) => key === name)?.[1];
    if (value("id") !== weights.code) {
      throw new Error("the weights belong to other code");
    }
    this.vocabulary = Number(value("vocabulary"));
    this.chunk = Number(value("chunk"));
    this.context = Math.min(context, Number(value("context")));
    const arena = Number(view.getBigInt64(exports.lumen_arena_size_step.value, true));
    this.fillSlots(code, weights, arena);
  }

  /** The address of so many new bytes, which are zero. */
  allocate(size) {
    const begin = Math.ceil(this.end / 64) * 64;
    this.end = begin + size;
    const { memory } = this.exports;
    const missing = Math.ceil((this.end - memory.buffer.byteLength) / MEMORY_PAGE);
    if (missing > 0) {
      memory.grow(missing); // throws where there is no more
    }
    return begin;
  }

  copy(bytes) {
    const place = this.allocate(bytes.length);
    new Uint8Array(this.exports.memory.buffer).set(bytes, place);
    return place;
  }

  /** Gives the step the memory that it takes, argument by argument: docs/decisions/ahead-of-time.md. */
  fillSlots(code, weights, arena) {
    const slots = [];
    const at = {};
    const ropes = [...weights.ropes];
    const places = [...weights.places];
    const copied = new Map();
    at.places = [];
    for (const [, kind, ...words] of code.filter(([key]) => key === "argument")) {
      if (kind === "tokens" || kind === "positions" || kind === "rows") {
        at[kind] = slots.length;
        slots.push(this.allocate(4 * this.chunk), 0);
      } else if (kind === "runs") {
        // The first row, how many, the sequence.
        at.runs = slots.length;
        slots.push(this.allocate(4 * 3), 1);
      } else if (kind === "places") {
        at.places.push({ slot: slots.length, count: this.pages(Number(words[0])) });
        slots.push(this.allocate(4 * this.chunk), 0);
      } else if (kind === "pages") {
        // Page i of the only sequence is page i % count: the last ones are there.
        const count = this.pages(Number(words[0]));
        const table = Int32Array.from({ length: Math.ceil(this.context / PAGE) }, (_, i) => i % count);
        slots.push(this.copy(new Uint8Array(table.buffer)), 1, table.length);
      } else if (kind === "rope") {
        slots.push(this.makeRope(ropes.shift(), weights.data), this.context);
      } else if (kind === "cache") {
        const [window, bytes] = words.map(Number);
        const blocks = this.pages(window) * (PAGE / BLOCK);
        slots.push(this.allocate(blocks * bytes), blocks);
      } else if (kind === "weight") {
        const { offset, size } = places.shift();
        const key = `${offset} ${size}`;
        if (!copied.has(key)) {
          copied.set(key, this.copy(weights.data.subarray(offset, offset + size)));
        }
        slots.push(copied.get(key));
      } else if (kind === "logits") {
        at.logits = slots.length;
        slots.push(this.allocate(4 * this.vocabulary), 0);
      } else {
        throw new Error(`the code takes "${kind}", which this page does not know`);
      }
    }
    slots.push(this.allocate(arena));
    this.slots = this.copy(new Uint8Array(BigUint64Array.from(slots, BigInt).buffer));
    // A worker: its number, how many there are, and what it has taken.
    this.worker = this.copy(new Uint8Array(BigUint64Array.of(0n, 1n, 0n, 0n).buffer));
    this.at = at;
    this.places = slots;
  }

  pages(window) {
    const whole = Math.ceil(this.context / PAGE);
    return window ? Math.min(whole, Math.ceil((window + this.chunk - 2) / PAGE) + 1) : whole;
  }

  /** Cosines, then sines, of each position. */
  makeRope({ dimensions, magnitude, offset, threshold, longOffset }, data) {
    const half = dimensions / 2;
    const begin = threshold && this.context > threshold ? longOffset : offset;
    const frequencies = new Float64Array(data.slice(begin, begin + 8 * half).buffer);
    const table = new Float32Array(this.context * dimensions);
    for (let row = 0; row < this.context; row++) {
      for (let pair = 0; pair < half; pair++) {
        const angle = row * frequencies[pair];
        table[row * dimensions + pair] = magnitude * Math.cos(angle);
        table[row * dimensions + half + pair] = magnitude * Math.sin(angle);
      }
    }
    return this.copy(new Uint8Array(table.buffer));
  }

  /** Runs tokens behind those that were run before; returns the logits behind the last one. */
  step(tokens) {
    if (this.position + tokens.length > this.context) {
      throw new Error(`${this.position + tokens.length} tokens do not fit a context of ${this.context}`);
    }
    for (let begin = 0; begin < tokens.length; begin += this.chunk) {
      const part = tokens.subarray(begin, begin + this.chunk);
      const last = begin + part.length === tokens.length;
      const view = new DataView(this.exports.memory.buffer);
      const set = (slot, value) => view.setBigUint64(this.slots + 8 * slot, BigInt(value), true);
      const numbers = (slot, values) =>
        new Int32Array(this.exports.memory.buffer, this.places[slot], values.length).set(values);
      const positions = Int32Array.from(part, (_, i) => this.position + i);
      numbers(this.at.tokens, part);
      numbers(this.at.positions, positions);
      numbers(this.at.rows, [part.length - 1]);
      numbers(this.at.runs, [0, part.length, 0]);
      for (const { slot, count } of this.at.places) {
        numbers(slot, positions.map((p) => (Math.floor(p / PAGE) % count) * PAGE + (p % PAGE)));
        set(slot + 1, part.length);
      }
      set(this.at.tokens + 1, part.length);
      set(this.at.positions + 1, part.length);
      set(this.at.rows + 1, last ? 1 : 0);
      set(this.at.logits + 1, last ? 1 : 0);
      this.exports.lumen_entry_step(this.slots, this.worker);
      this.position += part.length;
    }
    return new Float32Array(this.exports.memory.buffer, this.places[this.at.logits], this.vocabulary).slice();
  }

  /** Forgets what was run. */
  reset() {
    this.position = 0;
  }
}
