// SPDX-License-Identifier: Apache-2.0

/** A name that nothing else has. (crypto.randomUUID is only there on pages that came by HTTPS or from localhost.) */
export function identifier(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
