// Plays the scenes that the server runs by itself, and shows their steps as they come.
import { answered } from "./page_acts.js";

/** The lines of a streamed answer, each a JSON value. */
async function* lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value = "", done } = await reader.read();
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const line of parts) yield JSON.parse(line);
    if (done) return;
  }
}

function item({ did, saw }) {
  const li = document.createElement("li");
  const [what, outcome] = [document.createElement("span"), document.createElement("span")];
  what.textContent = `${did} `;
  outcome.textContent = saw;
  outcome.className = "saw";
  li.append(what, outcome);
  return li;
}

/** Returns the server's own sum of the scene. */
export async function run(id, scene) {
  const list = scene.querySelector(".steps");
  list.replaceChildren();
  const answer = await answered(await fetch(`/demo/run/${id}`, { method: "POST" }));
  list.hidden = false;
  for await (const line of lines(answer)) {
    if (line.failed) throw new Error(line.failed);
    if (line.sum) return line.sum;
    list.append(item(line));
  }
  throw new Error("the answer ended too early");
}
