// Plays the scenes and shows what the server counted.
import { acts, begin, state } from "./page_acts.js";
import { run as runSolo } from "./page_solo.js";

const sides = ["sample", "kit"];
const failures = ["unauthorized", "killed"]; // shown in red, on either side, unless they are 0
const allStatus = document.getElementById("all-status");
const allIDs = [...document.querySelectorAll("[data-scene]")].map((button) => button.dataset.scene);
let running = false;

function show({ scenes, total }) {
  document.getElementById("board-session").textContent =
    scenes ? `Totals of your session: ${scenes} ${scenes === 1 ? "scene" : "scenes"} played.` : "Totals of your session: no scene yet.";
  for (const side of sides) {
    for (const cell of document.querySelectorAll(`#board-${side} [data-count]`)) {
      const { count } = cell.dataset;
      const n = total[side][count];
      cell.textContent = count === "waited_ms" ? `${(n / 1000).toFixed(2)} s` : n;
      cell.classList.toggle("failure", failures.includes(count) && n > 0);
    }
  }
}

function showFigures(place, n) {
  const all = [["token calls", n.token_calls], ["401s while signed in", n.unauthorized], ["tokens ended early", n.killed]];
  place.replaceChildren(...all.flatMap(([what, count]) => {
    const figure = document.createElement("span");
    figure.textContent = `${what}: ${count}`;
    return [figure, " "];
  }));
}

/** Follows the counters while a scene runs: a stream holds one of the browser's few connections. */
function follow() {
  const stream = new EventSource("/demo/events");
  stream.onmessage = ({ data }) => show(JSON.parse(data));
  return () => stream.close();
}

/** Plays a scene with two sides. It returns what the scene shows. */
async function playBoth(id, scene) {
  const [act, explain] = acts[id];
  await begin();
  const stop = follow();
  try {
    for (const side of sides) {
      const outcome = scene.querySelector(`.outcome.${side}`);
      outcome.querySelector("ul").replaceChildren();
      outcome.querySelector(".figures").textContent = "";
    }
    scene.querySelector(".outcomes").hidden = false;
    for (const side of sides) {
      for (const line of await act(side)) {
        const item = document.createElement("li");
        item.textContent = line;
        scene.querySelector(`.outcome.${side} ul`).append(item);
      }
    }
    const now = await state();
    show(now);
    for (const side of sides) showFigures(scene.querySelector(`.outcome.${side} .figures`), now.scene[side]);
    return explain(now.scene.sample, now.scene.kit);
  } finally {
    stop();
  }
}

/** Plays a scene, shows how it went by its button, and throws what broke it off. */
async function play(id) {
  const scene = document.getElementById(`scene-${id}`);
  const verdict = scene.querySelector(".verdict");
  delete scene.dataset.played;
  scene.setAttribute("aria-busy", "true");
  verdict.textContent = "Running …";
  try {
    verdict.textContent = await (id in acts ? playBoth(id, scene) : runSolo(id, scene));
    scene.dataset.played = "ok";
  } catch (error) {
    verdict.textContent = `This scene broke off: ${error.message}. Press the button to try again.`;
    scene.dataset.played = "failed";
    throw error;
  } finally {
    scene.removeAttribute("aria-busy");
  }
}

/** One scene at a time, in all tabs of this browser: they share a session. */
const alone = (work) => (navigator.locks ? navigator.locks.request("bearerkit-scene", work) : work());

/** Plays scenes one after the other. Buttons stay focusable meanwhile. */
async function run(ids, tell) {
  if (running) return;
  running = true;
  const buttons = document.querySelectorAll("[data-scene], #run-all");
  for (const b of buttons) b.setAttribute("aria-disabled", "true");
  let played = 0;
  try {
    await alone(async () => {
      for (const id of ids) {
        tell(`Playing scene ${played + 1} of ${ids.length}: ${document.getElementById(`title-${id}`).textContent} …`);
        await play(id);
        played++;
      }
    });
    const { sample, kit } = (await state()).total;
    tell(`All ${played} scenes were played; what each shows stands below its button. In your session the sample made ${sample.token_calls} token calls ` +
      `and bearerkit ${kit.token_calls}; users who were signed in got ${sample.unauthorized} answers of 401 from the sample and ${kit.unauthorized} from bearerkit.`);
  } catch (error) {
    tell(`Stopped at scene ${played + 1} of ${ids.length}: ${error.message}. Press the button to try again.`);
  } finally {
    for (const b of buttons) b.removeAttribute("aria-disabled");
    running = false;
  }
}

for (const button of document.querySelectorAll("[data-scene]")) {
  button.addEventListener("click", () => run([button.dataset.scene], () => {}));
}
document.getElementById("run-all").addEventListener("click", () => run(allIDs, (text) => (allStatus.textContent = text)));
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}
state().then(show);
