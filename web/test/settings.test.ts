// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { offered, requestOf, toolsOf } from "../src/app/request.ts";
import { languageOf, stringsOf } from "../src/i18n/languages.ts";
import { DEFAULTS, parseSettings } from "../src/storage/settings.ts";
import { numberOf } from "../src/ui/NumberField.tsx";

test("settings of an earlier visit, where they are good", () => {
  assert.deepEqual(parseSettings(null), DEFAULTS);
  assert.deepEqual(parseSettings("{"), DEFAULTS);
  assert.deepEqual(parseSettings("[1]"), DEFAULTS);
  const stored = { theme: "dark", language: "fr", model: 3, parameters: { top_k: 5, min_p: "x", seed: null }, more: 1 };
  const expected = { ...DEFAULTS, theme: "dark", parameters: { top_k: 5 } };
  assert.deepEqual(parseSettings(JSON.stringify(stored)), expected);
});

test("languages", () => {
  assert.equal(languageOf(["fr", "ko-KR", "en"]), "ko");
  assert.equal(languageOf(["de"]), "en");
  assert.equal(languageOf([]), "en");
});

test("both languages say the same things", () => {
  const [en, ko] = [stringsOf("en"), stringsOf("ko")];
  assert.deepEqual(Object.keys(ko), Object.keys(en));
  assert.deepEqual(Object.keys(ko.parameterNames), Object.keys(en.parameterNames));
});

test("numbers of a field", () => {
  assert.equal(numberOf("", 0, 1, false), "");
  assert.equal(numberOf(" .5 ", 0, 1, false), 0.5);
  assert.equal(numberOf("-1.5", -2, 2, false), -1.5);
  for (const text of ["2", "-0.1", "1e3", "x", "0x1", "."]) assert.equal(numberOf(text, 0, 1, false), null, text);
  assert.equal(numberOf("1.5", 0, 9, true), null);
});

test("tools", () => {
  assert.deepEqual(toolsOf(" "), []);
  const tool = { type: "function", function: { name: "f" } };
  assert.deepEqual(toolsOf(JSON.stringify([tool])), [tool]);
  for (const text of ["{", "{}", "[1]", '[{"type":"function"}]', '[{"type":"x","function":{"name":"f"}}]']) {
    assert.equal(toolsOf(text), null, text);
  }
});

test("a request says what was chosen, and leaves the rest to the server", () => {
  const props = { context: 1, model: "m", chat: true, sampling: { temperature: 1, top_k: 4 }, reasoning: true, tools: true };
  assert.deepEqual(offered(props).map(({ name }) => name), ["temperature", "top_k", "max_tokens", "seed"]);
  const plain = {
    model: "m",
    messages: [],
    stream: true,
    stream_options: { include_usage: true },
    return_progress: true,
    timings_per_token: true,
  };
  assert.deepEqual(requestOf([], "", "m", DEFAULTS, props), plain);
  const tools = '[{"type":"function","function":{"name":"f"}}]';
  const chosen = { ...DEFAULTS, parameters: { top_k: 3, top_p: 0.5, seed: 0 }, reasoning: false, tools };
  assert.deepEqual(requestOf([], "", "m", chosen, props), {
    ...plain,
    top_k: 3,
    seed: 0,
    tools: JSON.parse(tools),
    enable_thinking: false,
  });
  assert.deepEqual(requestOf([], "", "m", chosen, { ...props, reasoning: false, tools: false }), {
    ...plain,
    top_k: 3,
    seed: 0,
  });
});
