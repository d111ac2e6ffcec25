// SPDX-License-Identifier: Apache-2.0

const byId = (id) => document.getElementById(id);
const [form, prompt, output, status] = ["form", "prompt", "output", "status"].map(byId);
const worker = new Worker("worker.js", { type: "module" });

function write(options = {}) {
  byId("write").disabled = true;
  output.textContent = prompt.value;
  status.textContent = "…";
  worker.postMessage({ prompt: prompt.value, most: 64, options: { seed: -1, ...options } });
}

function end(text, state) {
  byId("write").disabled = false;
  status.textContent = text;
  document.body.dataset.state = state;
}

worker.onmessage = ({ data }) => {
  if (data.error !== undefined) {
    end(data.error, "failed");
  } else if (data.done) {
    end(`${data.count} tokens in ${data.seconds.toFixed(2)} s`, "done");
  } else {
    output.textContent += data.piece;
  }
};
worker.onerror = (event) => end(event.message || "the worker cannot be loaded", "failed");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  write();
});

// ?prompt=…&temperature=0&seed=1 writes at once.
const given = new URLSearchParams(location.search);
if (given.has("prompt")) {
  prompt.value = given.get("prompt");
  const numbers = ["temperature", "seed"].filter((name) => given.has(name));
  write(Object.fromEntries(numbers.map((name) => [name, Number(given.get(name))])));
}
