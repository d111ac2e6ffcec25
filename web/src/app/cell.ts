// SPDX-License-Identifier: Apache-2.0
// A value that parts of the page follow.

import { useEffect, useReducer } from "preact/hooks";

export class Cell<T> {
  private readonly followers = new Set<() => void>();

  constructor(private content: T) {}

  get value(): T {
    return this.content;
  }

  set(value: T): void {
    if (Object.is(value, this.content)) return;
    this.content = value;
    for (const follower of [...this.followers]) follower();
  }

  /** Calls back after every change; returns how to end that. */
  follow(follower: () => void): () => void {
    this.followers.add(follower);
    return () => this.followers.delete(follower);
  }
}

/** The value of a cell, in a component that is drawn again when it changes. */
export function useCell<T>(cell: Cell<T>): T {
  const [, again] = useReducer((count: number, _: void) => count + 1, 0);
  const shown = cell.value;
  useEffect(() => {
    // It may have changed between drawing and this.
    if (!Object.is(cell.value, shown)) again();
    return cell.follow(() => again());
  }, [cell]);
  return shown;
}
