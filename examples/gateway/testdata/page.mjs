// A page that holds the pair alone: the document's fetchWithAuth, letter for
// letter, with the two functions that it leaves to the page. Each line on stdin
// is a call; the answer is a line on stdout.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const [base, query] = process.argv.slice(2);
const listing = readFileSync(new URL("fetchWithAuth.ts", import.meta.url), "utf8");
const fetchWithAuth = new Function(
  "getAccessToken",
  "refreshTokens",
  // Node 20 does not strip types.
  listing.replace("url: string, options: RequestInit = {}", "url, options = {}") + "return fetchWithAuth;",
);

const json = { "Content-Type": "application/json" };

async function post(path, body) {
  const response = await fetch(base + path, { method: "POST", headers: json, body: JSON.stringify(body) });
  return { status: response.status, body: await response.json() };
}

const tabs = {};

function tab(name) {
  return (tabs[name] ??= (() => {
    const own = { pair: null, refreshes: [] };
    own.fetch = fetchWithAuth(
      () => own.pair.token,
      async () => {
        const { status, body } = await post("/api/consent/refresh-token", { refresh_token: own.pair.refresh_token, ...ids });
        own.refreshes.push(status);
        if (status === 200) own.pair = body;
      },
    );
    return own;
  })());
}

const ids = Object.fromEntries(new URLSearchParams(query));

for await (const line of createInterface({ input: process.stdin })) {
  const { name, act, path, body } = JSON.parse(line);
  const own = tab(name);
  const answer = {};
  if (act === "generate") {
    const got = await post("/api/consent/token?" + query, body);
    own.pair = got.body;
    answer.status = got.status;
  } else if (act === "copy") {
    own.pair = { ...tab(body).pair };
  } else {
    own.refreshes.length = 0;
    const response = await own.fetch(base + path, body ? { method: "POST", headers: json, body: JSON.stringify(body) } : {});
    answer.status = response.status;
    answer.body = await response.json();
    answer.refreshes = own.refreshes;
  }
  answer.token = own.pair.token;
  answer.refresh_token = own.pair.refresh_token;
  console.log(JSON.stringify(answer));
}
