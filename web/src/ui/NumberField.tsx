// SPDX-License-Identifier: Apache-2.0

import { useEffect, useId, useRef, useState } from "preact/hooks";
import { useNumbers, useStrings } from "./page.ts";

interface Props {
  label: string;
  low: number;
  high: number;
  whole: boolean;
  value: number | "";
  /** What holds where the field is empty. */
  standard: number | undefined;
  onChange: (value: number | "") => void;
}

/** A field for a number, which takes only numbers of the range. */
export function NumberField({ label, low, high, whole, value, standard, onChange }: Props) {
  const t = useStrings();
  const number = useNumbers();
  const fault = useId();
  const [text, setText] = useState(String(value));
  const told = useRef(value);
  // The parameters may be reset, or changed in another tab.
  useEffect(() => {
    if (value !== told.current) setText(String(value));
    told.current = value;
  }, [value]);
  const bad = numberOf(text, low, high, whole) === null;
  const onInput = (input: string) => {
    setText(input);
    told.current = numberOf(input, low, high, whole) ?? "";
    onChange(told.current);
  };
  return (
    <label class="labelled">
      <span>{label}</span>
      <input
        type="text"
        inputMode="decimal"
        placeholder={standard === undefined ? "" : String(standard)}
        aria-invalid={bad}
        aria-describedby={bad ? fault : undefined}
        value={text}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      {bad && (
        <span class="fault" id={fault} role="alert">
          {t.outOfRange(number(low, low % 1 ? 2 : 0), number(high))}
        </span>
      )}
    </label>
  );
}

/** The number that a text is, "" for none, and null where it is outside of the range. */
export function numberOf(text: string, low: number, high: number, whole: boolean): number | "" | null {
  if (text.trim() === "") return "";
  if (!/^-?\d*\.?\d+$/.test(text.trim())) return null;
  const value = Number(text);
  return value >= low && value <= high && (!whole || Number.isInteger(value)) ? value : null;
}
