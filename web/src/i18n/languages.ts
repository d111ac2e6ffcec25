// SPDX-License-Identifier: Apache-2.0

import { en } from "./en.ts";
import { ko } from "./ko.ts";

export type Language = "en" | "ko";
export type Strings = typeof en;

const LANGUAGES: Record<Language, Strings> = { en, ko };

/** The first language of these that the page speaks. */
export function languageOf(preferred: readonly string[]): Language {
  for (const tag of preferred) {
    const language = tag.toLowerCase().split("-")[0];
    if (language === "en" || language === "ko") return language;
  }
  return "en";
}

export function stringsOf(language: Language): Strings {
  return LANGUAGES[language];
}
