// SPDX-License-Identifier: Apache-2.0
// What the page tells its reader above the conversation.

import type { Strings } from "../i18n/languages.ts";
import { Cell } from "./cell.ts";

export interface Notice {
  /** Of several notices about one thing, only the last one is shown. */
  about: string;
  text: (t: Strings) => string;
  /** Good news go away by themselves. */
  good: boolean;
}

export class Notices {
  readonly list = new Cell<readonly Notice[]>([]);

  add(about: string, text: (t: Strings) => string, good = false): void {
    const notice = { about, text, good };
    this.list.set([...this.list.value.filter((each) => each.about !== about), notice]);
    if (good) setTimeout(() => this.list.set(this.list.value.filter((each) => each !== notice)), 5000);
  }

  remove(about: string): void {
    if (this.list.value.some((each) => each.about === about)) {
      this.list.set(this.list.value.filter((each) => each.about !== about));
    }
  }
}
