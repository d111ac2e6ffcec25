// SPDX-License-Identifier: Apache-2.0

import { type Language, languageOf, type Strings, stringsOf } from "../i18n/languages.ts";
import { loadSettings, onOtherTab, saveSettings, type Settings } from "../storage/settings.ts";
import { Cell } from "./cell.ts";
import type { Notices } from "./notices.ts";

/** The settings, which hold for the whole page at once. */
export class Preferences {
  readonly settings = new Cell<Settings>(loadSettings());

  constructor(private readonly notices: Notices) {
    onOtherTab(() => this.settings.set(loadSettings()));
    this.settings.follow(() => this.show());
    this.show();
  }

  change(part: Partial<Settings>): void {
    const settings = { ...this.settings.value, ...part };
    this.settings.set(settings);
    if (!saveSettings(settings)) this.notices.add("storage", (t) => t.notKept);
  }

  get language(): Language {
    const { language } = this.settings.value;
    return language === "system" ? languageOf(navigator.languages) : language;
  }

  get strings(): Strings {
    return stringsOf(this.language);
  }

  private show(): void {
    const { theme } = this.settings.value;
    document.documentElement.lang = this.language;
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }
}
