// SPDX-License-Identifier: Apache-2.0
// Files of conversations, from and to the reader's disk.

import type { Library } from "../app/library.ts";
import type { Notices } from "../app/notices.ts";
import { FileError, LARGEST, read, write } from "../chat/file.ts";

/** Lets the browser save a file with these conversations. */
export async function exportFile(library: Library, ids: readonly string[]): Promise<void> {
  const now = new Date();
  const text = write(await library.all(ids), now);
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `lumen-${now.toISOString().slice(0, 19).replace(/[:T]/g, "-")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Adds the conversations of a file, or says what is wrong with it. */
export async function importFile(library: Library, notices: Notices, file: File): Promise<void> {
  if (file.size > LARGEST) return notices.add("import", (t) => t.badFile(t.fileTooLarge));
  try {
    const conversations = read(await file.text());
    await library.add(conversations);
    notices.add("import", (t) => t.imported(conversations.length), true);
  } catch (error) {
    const why = error instanceof FileError ? error.message : String(error);
    notices.add("import", (t) => t.badFile(why));
  }
}
