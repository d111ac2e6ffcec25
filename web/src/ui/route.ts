// SPDX-License-Identifier: Apache-2.0
// The address of the page names the conversation, so reloading, going back and several tabs work.

import type { Library } from "../app/library.ts";

export function addressOf(id: string | null): string {
  return id === null ? "#" : `#/${id}`;
}

function idOf(hash: string): string | null {
  return /^#\/([\w-]+)$/.exec(hash)?.[1] ?? null;
}

/** Shows the conversation of the address, now and when it changes. */
export async function followAddress(library: Library): Promise<void> {
  addEventListener("hashchange", () => void library.open(idOf(location.hash)));
  library.current.follow(() => {
    // It was deleted, or there is none of this name.
    if (library.current.value === null && idOf(location.hash) !== null) history.replaceState(null, "", "#");
  });
  await library.open(idOf(location.hash));
}

/** Shows a conversation that was just made. */
export function show(library: Library, id: string): void {
  if (idOf(location.hash) === id) return;
  history.pushState(null, "", addressOf(id));
  void library.open(id);
}
