// The form that tries a route. Tokens in answers are kept in memory and shown
// by their length alone.
const id = (name) => document.getElementById(name);
const [form, route, path, body] = ["try", "try-route", "try-path", "try-body"].map(id);
const { user } = document.body.dataset;
const lastOne = "(the last one)";
const last = new Map(); // what the endpoints of a folder answered last

const folder = (p) => p.slice(0, p.lastIndexOf("/"));

function choose() {
  const { dataset } = route.selectedOptions[0];
  path.value = dataset.path;
  body.value = dataset.body;
  id("try-body-field").hidden = dataset.method === "GET";
  const demo = id("try-demo");
  if (demo) demo.checked = dataset.bearer === "true";
}

async function bearer() {
  if (id("try-demo")?.checked) {
    const answer = await fetch("/demo/token", { method: "POST", body: JSON.stringify({ sub: user }) });
    return (await answer.json()).access_token;
  }
  return id("try-bearer")?.value;
}

function masked(text) {
  const hide = (name, v) =>
    typeof v === "string" && /token$/i.test(name) ? `(${v.length} characters, in this page’s memory only)` : v;
  try {
    text = JSON.stringify(JSON.parse(text), hide, 2);
  } catch {
    // not JSON
  }
  return text.replace(/eyJ[\w-]+\.[\w-]+\.[\w-]*/g, "(a token)");
}

async function send() {
  const { method } = route.selectedOptions[0].dataset;
  const known = last.get(folder(path.value)) ?? {};
  const headers = {};
  const token = await bearer();
  if (token) headers.Authorization = `Bearer ${token}`;
  if (path.value === "/kudo/verify") headers["X-Api-Token"] = known.token ?? "";
  const init = { method, headers };
  if (method !== "GET") {
    headers["Content-Type"] = "application/json";
    init.body = body.value.replace(lastOne, known.refresh_token ?? "");
  }
  const answer = await fetch(path.value, init);
  const text = await answer.text();
  try {
    const json = JSON.parse(text);
    if (json.token) last.set(folder(path.value), json);
  } catch {
    // not JSON
  }
  id("try-status").textContent = `${answer.status} ${answer.statusText}`;
  id("try-answer").textContent = masked(text) || "(no body)";
  id("try-answer").hidden = false;
}

route.addEventListener("change", choose);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  send().catch((error) => (id("try-status").textContent = `No answer: ${error.message}`));
});
choose();
