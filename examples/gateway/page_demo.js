// Runs the acts and shows the counters.
import { acts, post, state } from "./page_acts.js";

const sides = ["sample", "kit"];
let running = false;

function show(counts) {
  for (const side of sides) {
    for (const cell of document.querySelectorAll(`#board-${side} [data-count]`)) {
      const n = counts[side][cell.dataset.count];
      cell.textContent = cell.dataset.count === "waited_ms" ? `${(n / 1000).toFixed(2)} s` : n;
    }
  }
}

const figures = (n) =>
  [["vendor calls", n.vendor_calls], ["401s", n.unauthorized], ["tokens killed", n.killed]]
    .map(([what, count]) => `${what} ${count}`.replaceAll(" ", "\u00a0")).join(" · ");

/** Follows the counters while an act runs: a stream holds one of the browser's few connections. */
function follow() {
  const stream = new EventSource("/demo/events");
  stream.onmessage = ({ data }) => show(JSON.parse(data));
  return () => stream.close();
}

async function play(id) {
  const scene = document.getElementById(`scene-${id}`);
  const verdict = scene.querySelector(".verdict");
  const [act, explain] = acts[id];
  scene.setAttribute("aria-busy", "true");
  verdict.textContent = "Running …";
  await post("/demo/begin", {});
  const stop = follow();
  try {
    for (const side of sides) {
      const list = scene.querySelector(`.outcome.${side} ul`);
      list.replaceChildren();
      scene.querySelector(`.outcome.${side} .figures`).textContent = "";
      scene.querySelector(".outcomes").hidden = false;
      for (const line of await act(side)) {
        const item = document.createElement("li");
        item.textContent = line;
        list.append(item);
      }
    }
    const counts = await state();
    show(counts);
    for (const side of sides) scene.querySelector(`.outcome.${side} .figures`).textContent = figures(counts[side]);
    verdict.textContent = explain(counts.sample, counts.kit);
  } catch (error) {
    verdict.textContent = `This act broke off: ${error.message}. Is the gateway still running?`;
  } finally {
    stop();
    scene.removeAttribute("aria-busy");
    scene.dataset.played = "";
  }
}

/** One act at a time: there is one stage. Buttons stay focusable meanwhile. */
async function run(ids) {
  if (running) return;
  running = true;
  const buttons = document.querySelectorAll("[data-scene], #run-all");
  for (const b of buttons) b.setAttribute("aria-disabled", "true");
  for (const id of ids) await play(id);
  for (const b of buttons) b.removeAttribute("aria-disabled");
  running = false;
}

for (const button of document.querySelectorAll("[data-scene]")) {
  button.addEventListener("click", () => run([button.dataset.scene]));
}
document.getElementById("run-all").addEventListener("click", () => run(Object.keys(acts)));
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}
state().then(show);
