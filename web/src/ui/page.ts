// SPDX-License-Identifier: Apache-2.0
// What components have in common.

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { useCell } from "../app/cell.ts";
import type { Chat } from "../app/chat.ts";
import type { Connection } from "../app/connection.ts";
import type { Library } from "../app/library.ts";
import type { Notices } from "../app/notices.ts";
import type { Preferences } from "../app/preferences.ts";
import type { Strings } from "../i18n/languages.ts";

export interface Page {
  notices: Notices;
  preferences: Preferences;
  library: Library;
  connection: Connection;
  chat: Chat;
}

export const PageContext = createContext<Page | null>(null);

export function usePage(): Page {
  const page = useContext(PageContext);
  if (page === null) throw new Error("outside of the page");
  return page;
}

/** The texts of the page in its language. */
export function useStrings(): Strings {
  const { preferences } = usePage();
  useCell(preferences.settings);
  return preferences.strings;
}

/** Writes numbers as the language of the page does. */
export function useNumbers(): (value: number, digits?: number) => string {
  const { preferences } = usePage();
  const language = preferences.language;
  return (value, digits = 0) =>
    value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
