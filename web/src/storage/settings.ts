// SPDX-License-Identifier: Apache-2.0
// What the reader chose, kept in the browser where that is allowed.

import type { Language } from "../i18n/languages.ts";

/** A parameter of requests: a number, or "" for what the server takes. */
export type Parameters = Record<string, number | "">;

export interface Settings {
  theme: "system" | "light" | "dark";
  language: "system" | Language;
  model: string;
  /** For new conversations. */
  system: string;
  parameters: Parameters;
  /** Whether a model that can reason does so. */
  reasoning: boolean;
  /** Tools as JSON, in OpenAI's form; "" for none. */
  tools: string;
  key: string;
  /** Whether the key stays when the browser is closed. */
  keepKey: boolean;
}

export const DEFAULTS: Settings = {
  theme: "system",
  language: "system",
  model: "",
  system: "",
  parameters: {},
  reasoning: true,
  tools: "",
  key: "",
  keepKey: false,
};

const PLACE = "lumen.settings";
const KEY = "lumen.key";

/** The settings in a text that an earlier visit left; what has another form falls back to its default. */
export function parseSettings(text: string | null): Settings {
  let stored: unknown;
  try {
    stored = JSON.parse(text ?? "{}");
  } catch {
    stored = {};
  }
  const fields = (typeof stored === "object" && stored !== null ? stored : {}) as Record<string, unknown>;
  const settings: Record<string, unknown> = { ...DEFAULTS };
  for (const [name, value] of Object.entries(DEFAULTS)) {
    if (typeof fields[name] === typeof value && fields[name] !== null) settings[name] = fields[name];
  }
  const parsed = settings as unknown as Settings;
  if (!["system", "light", "dark"].includes(parsed.theme)) parsed.theme = "system";
  if (!["system", "en", "ko"].includes(parsed.language)) parsed.language = "system";
  parsed.parameters = Object.fromEntries(
    Object.entries(parsed.parameters).filter(([, value]) => typeof value === "number" && Number.isFinite(value)),
  );
  return parsed;
}

export function loadSettings(): Settings {
  try {
    const settings = parseSettings(localStorage.getItem(PLACE));
    const kept = settings.keepKey ? localStorage.getItem(KEY) : sessionStorage.getItem(KEY);
    return { ...settings, key: kept ?? "" };
  } catch {
    return { ...DEFAULTS };
  }
}

/** Whether the browser kept them. */
export function saveSettings(settings: Settings): boolean {
  const { key, ...rest } = settings;
  try {
    localStorage.setItem(PLACE, JSON.stringify(rest));
    const [kept, other] = settings.keepKey ? [localStorage, sessionStorage] : [sessionStorage, localStorage];
    other.removeItem(KEY);
    if (key === "") kept.removeItem(KEY);
    else kept.setItem(KEY, key);
    return true;
  } catch {
    return false;
  }
}

/** Calls back when another tab saves settings. */
export function onOtherTab(call: () => void): void {
  addEventListener("storage", (event) => {
    if (event.key === PLACE || event.key === KEY) call();
  });
}
