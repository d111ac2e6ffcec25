// SPDX-License-Identifier: Apache-2.0

import { useState } from "preact/hooks";
import { useCell } from "../app/cell.ts";
import { offered, toolsOf } from "../app/request.ts";
import type { Settings } from "../storage/settings.ts";
import { Dialog } from "./Dialog.tsx";
import { DataSettings } from "./DataSettings.tsx";
import { NumberField } from "./NumberField.tsx";
import { usePage, useStrings } from "./page.ts";

export function SettingsDialog({ onClose }: { onClose: () => void }) {
  const t = useStrings();
  return (
    <Dialog title={t.settings} class="settings" onClose={onClose}>
      <SystemPrompt />
      <Parameters />
      <Tools />
      <Appearance />
      <DataSettings />
    </Dialog>
  );
}

function SystemPrompt() {
  const { library, preferences } = usePage();
  const t = useStrings();
  const conversation = useCell(library.current);
  const settings = useCell(preferences.settings);
  const onInput = (system: string) => {
    if (conversation === null) preferences.change({ system });
    else void library.put({ ...conversation, system }, []);
  };
  return (
    <section>
      <h3>
        <label for="system">{t.system}</label>
      </h3>
      <p class="muted" id="system-note">
        {conversation === null ? t.systemForNew : t.systemForThis}
      </p>
      <textarea
        id="system"
        rows={3}
        aria-describedby="system-note"
        value={conversation?.system ?? settings.system}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
    </section>
  );
}

function Parameters() {
  const { connection, preferences } = usePage();
  const t = useStrings();
  const settings = useCell(preferences.settings);
  const props = useCell(connection.props);
  const set = (name: string, value: number | "") =>
    preferences.change({ parameters: { ...preferences.settings.value.parameters, [name]: value } });
  return (
    <section>
      <h3>{t.parameters}</h3>
      <p class="muted">{t.parametersNote}</p>
      <div class="fields">
        {offered(props).map((parameter) => (
          <NumberField
            key={parameter.name}
            label={t.parameterNames[parameter.name] ?? parameter.name}
            {...parameter}
            value={settings.parameters[parameter.name] ?? ""}
            standard={props?.sampling[parameter.name]}
            onChange={(value) => set(parameter.name, value)}
          />
        ))}
      </div>
      {props?.reasoning && (
        <label class="check-field">
          <input
            type="checkbox"
            checked={settings.reasoning}
            onChange={(event) => preferences.change({ reasoning: event.currentTarget.checked })}
          />
          {t.useReasoning}
        </label>
      )}
      <button type="button" class="plain" onClick={() => preferences.change({ parameters: {}, reasoning: true })}>
        {t.reset}
      </button>
    </section>
  );
}

function Tools() {
  const { connection, preferences } = usePage();
  const t = useStrings();
  const [text, setText] = useState(preferences.settings.value.tools);
  if (!useCell(connection.props)?.tools) return null;
  const bad = toolsOf(text) === null;
  const onInput = (tools: string) => {
    setText(tools);
    if (toolsOf(tools) !== null) preferences.change({ tools });
  };
  return (
    <section>
      <h3>
        <label for="tools">{t.tools}</label>
      </h3>
      <p class="muted" id="tools-note">
        {t.toolsNote}
      </p>
      <textarea
        id="tools"
        class="code"
        rows={5}
        spellcheck={false}
        aria-describedby="tools-note"
        aria-invalid={bad}
        value={text}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      {bad && (
        <p class="fault" role="alert">
          {t.badTools}
        </p>
      )}
    </section>
  );
}

function Appearance() {
  const { preferences } = usePage();
  const t = useStrings();
  const settings = useCell(preferences.settings);
  return (
    <section>
      <h3>{t.appearance}</h3>
      <div class="fields">
        <Choice
          label={t.theme}
          names={t.themes}
          value={settings.theme}
          onChange={(theme) => preferences.change({ theme: theme as Settings["theme"] })}
        />
        <Choice
          label={t.language}
          names={t.languages}
          value={settings.language}
          onChange={(language) => preferences.change({ language: language as Settings["language"] })}
        />
      </div>
    </section>
  );
}

interface ChoiceProps {
  label: string;
  names: Record<string, string>;
  value: string;
  onChange: (value: string) => void;
}

function Choice({ label, names, value, onChange }: ChoiceProps) {
  return (
    <label class="labelled">
      <span>{label}</span>
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {Object.entries(names).map(([key, name]) => (
          <option key={key} value={key}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}
