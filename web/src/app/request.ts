// SPDX-License-Identifier: Apache-2.0

import type { Props } from "../api/server.ts";
import { type Message, requestMessages } from "../chat/tree.ts";
import type { Settings } from "../storage/settings.ts";

/** What parameters may be; those that the server has no value for are always offered. */
export const PARAMETERS: readonly { name: string; low: number; high: number; whole: boolean; always?: boolean }[] = [
  { name: "temperature", low: 0, high: 10, whole: false, always: true },
  { name: "top_k", low: 0, high: 1_000_000, whole: true },
  { name: "top_p", low: 0, high: 1, whole: false },
  { name: "min_p", low: 0, high: 1, whole: false },
  { name: "typical_p", low: 0, high: 1, whole: false },
  { name: "repeat_penalty", low: 0.01, high: 10, whole: false },
  { name: "presence_penalty", low: -2, high: 2, whole: false },
  { name: "frequency_penalty", low: -2, high: 2, whole: false },
  { name: "max_tokens", low: 1, high: 10_000_000, whole: true, always: true },
  { name: "seed", low: 0, high: 2 ** 32 - 1, whole: true, always: true },
];

/** The parameters that a reader may set. */
export function offered(props: Props | null): typeof PARAMETERS {
  return PARAMETERS.filter(({ name, always }) => always || props?.sampling[name] !== undefined);
}

/** The tools of the settings; null where the text is none. */
export function toolsOf(text: string): object[] | null {
  if (text.trim() === "") return [];
  try {
    const tools: unknown = JSON.parse(text);
    if (!Array.isArray(tools)) return null;
    const good = tools.every((tool) => tool?.type === "function" && typeof tool.function?.name === "string");
    return good ? tools : null;
  } catch {
    return null;
  }
}

/** The request for the answer to a branch. */
export function requestOf(
  path: readonly Message[],
  system: string,
  model: string,
  settings: Settings,
  props: Props | null,
): object {
  const names = offered(props).map(({ name }) => name);
  const parameters = Object.fromEntries(
    names.map((name) => [name, settings.parameters[name]]).filter(([, value]) => typeof value === "number"),
  );
  const tools = props?.tools ? (toolsOf(settings.tools) ?? []) : [];
  return {
    model,
    messages: requestMessages(system, path),
    stream: true,
    stream_options: { include_usage: true },
    return_progress: true,
    timings_per_token: true,
    ...parameters,
    ...(tools.length > 0 ? { tools } : {}),
    ...(props?.reasoning && !settings.reasoning ? { enable_thinking: false } : {}),
  };
}
