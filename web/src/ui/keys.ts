// SPDX-License-Identifier: Apache-2.0

/** Whether a key sends a text: Enter, unless an input method composes a syllable with it. */
export function sends(event: KeyboardEvent): boolean {
  if (event.key !== "Enter" || event.shiftKey || event.altKey) return false;
  // Safari says so only by this number, as it ends the composition before.
  if (event.isComposing || event.keyCode === 229) return false;
  // Screen keyboards have no Shift+Enter. A button sends there.
  return event.ctrlKey || event.metaKey || !matchMedia("(pointer: coarse)").matches;
}

/** Whether a key ends what goes on, and not the composition of a syllable. */
export function escapes(event: KeyboardEvent): boolean {
  return event.key === "Escape" && !event.isComposing && event.keyCode !== 229;
}
