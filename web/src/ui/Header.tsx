// SPDX-License-Identifier: Apache-2.0

import { useCell } from "../app/cell.ts";
import { Gauge } from "./Gauge.tsx";
import { IconButton } from "./icons.tsx";
import { usePage, useStrings } from "./page.ts";

interface Props {
  sidebar: boolean;
  onSidebar: () => void;
  onSettings: () => void;
}

export function Header({ sidebar, onSidebar, onSettings }: Props) {
  const t = useStrings();
  return (
    <header class="header">
      {!sidebar && <IconButton icon="menu" label={t.openSidebar} onClick={onSidebar} />}
      <Model />
      <span class="space" />
      <Gauge />
      <IconButton icon="settings" label={t.settings} onClick={onSettings} />
    </header>
  );
}

function Model() {
  const { connection, preferences } = usePage();
  const t = useStrings();
  const models = useCell(connection.models);
  useCell(connection.props);
  if (models.length < 2) {
    return (
      <span class="model" title={t.model}>
        {connection.model}
      </span>
    );
  }
  return (
    <select
      class="model"
      aria-label={t.model}
      value={connection.model}
      onChange={(event) => preferences.change({ model: event.currentTarget.value })}
    >
      {models.map((model) => (
        <option key={model}>{model}</option>
      ))}
    </select>
  );
}
