// The acts of the demonstration. Each plays the same page on both sides, the
// sample's first, and returns what it saw in words. The numbers come from the
// server, which counts them itself.
import { createClient, BearerError } from "./bearerkit.mjs";

const { user, organisation, workspace } = document.body.dataset;
const tenant = { organisation_uuid: organisation, workspace_uuid: workspace };

export const post = (path, body, headers = {}) =>
  fetch(path, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) });

const turn = (side, what) => post("/demo/vendor", { side, do: what });
const times = (n, f) => Promise.all(Array.from({ length: n }, (_, i) => f(i)));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const count = (answers) => answers.filter((r) => r.ok).length;

function endpoint(side, name, query = tenant) {
  return `/demo/${side}/api/consent/${name}?${new URLSearchParams(query)}`;
}

/** A tab of the sample's frontend, written with care: one renewal at a time, one retry. */
function sampleTab() {
  let pair = null;
  let renewal = null;
  async function renew() {
    let answer = pair && (await post(endpoint("sample", "refresh-token"), { refresh_token: pair.refresh_token, ...tenant }));
    if (!answer?.ok) answer = await post(endpoint("sample", "token"), { org_user_id: user });
    pair = answer.ok ? await answer.json() : null;
    return answer;
  }
  const renewed = () => (renewal ??= renew().finally(() => (renewal = null)));
  const call = () => fetch("/demo/sample/consent/notices", { headers: { Authorization: `Bearer ${pair?.token}` } });
  return {
    open: renewed,
    async fetch() {
      const used = pair;
      const answer = await call();
      if (answer.status !== 401) return answer;
      if (used === pair) await renewed();
      return call();
    },
    forget: () => (pair = null),
    holdsToken: () => pair !== null,
  };
}

/** A tab of the kit's: its browser client. */
function kitTab() {
  const client = createClient({ base: "/demo/kit/api/consent", identity: tenant });
  return { open: () => client.token(), fetch: () => client.fetch("/demo/kit/consent/notices"), client };
}

/** A tab of the kit's whose token is in a cookie. */
function cookieTab() {
  const client = createClient({ base: "/demo/kit/api/consent", identity: tenant, token: "cookie", refresh: "", cookie: true });
  return { open: () => client.token(), client };
}

const tabOf = { sample: sampleTab, kit: kitTab };

async function tabs(side) {
  const all = await times(8, tabOf[side]);
  await Promise.all(all.map((tab) => tab.open()));
  const answers = (await Promise.all(all.map((tab) => times(5, tab.fetch)))).flat();
  return [`${count(answers)} of 40 calls succeeded`];
}

async function expire(side) {
  const tab = tabOf[side]();
  await tab.open();
  await turn(side, "expire");
  const answers = await times(10, tab.fetch);
  return [`${count(answers)} of 10 calls succeeded in the end`];
}

async function down(side) {
  await turn(side, "down");
  return side === "sample" ? downSample() : downKit();
}

async function downSample() {
  const ask = async () => {
    let answer;
    for (let tries = 0; tries < 3 && !answer?.ok; tries++) answer = await sampleTab().open();
    return answer;
  };
  const [first] = await times(8, ask);
  await turn("sample", "up");
  const after = await times(8, ask);
  return [
    `the pages got ${first.status} and no word of when to try again, so each tried three times at once`,
    `${count(after)} of 8 tabs were served once the vendor was back`,
  ];
}

async function downKit() {
  const all = await times(8, kitTab);
  const errors = await Promise.all(all.map((tab) => tab.open().catch((e) => e)));
  const refused = errors.filter((e) => e instanceof BearerError);
  const wait = Math.max(...refused.map((e) => e.retryAfter));
  await turn("kit", "up");
  await pause(wait * 1000 + 100);
  const after = await Promise.all(all.map((tab) => tab.open().then(() => true, () => false)));
  return [
    `${refused.length} tabs got ${refused[0]?.status} with Retry-After: ${wait}, from one call to the vendor; they waited`,
    `${after.filter(Boolean).length} of 8 tabs were served once the vendor was back`,
  ];
}

const other = "00000000-0000-4000-8000-000000000000";

async function attack(side) {
  const ask = (query, who, headers) => post(endpoint(side, "token", query), { org_user_id: who }, headers);
  const now = async () => (await state())[side];
  /** An attempt, and whether the API key was sent where it should not go. */
  const stray = async (query) => {
    const before = await now();
    const answer = await ask({ ...tenant, ...query }, user);
    const sent = (await now()).strayed > before.strayed;
    return `${answer.status}${sent ? ", after sending the API key there" : ", the API key stayed here"}`;
  };
  const climbed = await stray({ organisation_uuid: "../../../admin/api-keys?x=" });
  const foreign = await stray({ organisation_uuid: other });
  const bob = await ask(tenant, "bob");
  const before = await now();
  await fromElsewhere(side);
  const called = (await now()).vendor_calls > before.vendor_calls;
  const flood = await times(110, (i) => ask(tenant, user, { "X-Forwarded-For": `203.0.113.${i}` }));
  return [
    `path traversal: ${climbed}`,
    `another tenant: ${foreign}`,
    `another user’s token: ${bob.ok ? "handed out" : `${bob.status}, refused`}`,
    `from another site: ${called ? "it worked, and ended the user’s tokens" : "refused"}`,
    `110 calls from made-up addresses: ${flood.filter((r) => r.status === 429).length} refused`,
  ];
}

/** Calls from a sandboxed frame, which has no origin, as another site's page would. */
function fromElsewhere(side) {
  return new Promise((resolve) => {
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    frame.title = "Another site";
    frame.hidden = true;
    frame.src = `/demo/attacker?${new URLSearchParams({ side, ...tenant })}`;
    const done = ({ source }) => {
      if (source !== frame.contentWindow) return;
      removeEventListener("message", done);
      frame.remove();
      resolve();
    };
    addEventListener("message", done);
    document.body.append(frame);
  });
}

async function look(side) {
  const answer = await post(endpoint(side, side === "sample" ? "token" : "cookie"), { org_user_id: user });
  const body = await answer.json();
  const found = Object.entries(body).filter(([name, v]) => /^(refresh_)?token$/.test(name) && typeof v === "string");
  const places = { cookies: document.cookie, localStorage: JSON.stringify(localStorage), sessionStorage: JSON.stringify(sessionStorage) };
  const stored = Object.entries(places).filter(([, text]) => /eyJ/.test(text));
  const lines = [
    found.length
      ? `the answer shows ${found.map(([name, v]) => `${name} (${v.length} characters)`).join(" and ")}`
      : "the answer shows no token: it is in an HttpOnly cookie",
    `cookies and storage that scripts can read hold ${stored.length} tokens`,
  ];
  if (side === "sample") return [...lines, "any script here can copy both and use them elsewhere"];
  const used = await fetch("/demo/kit/consent/notices");
  return [...lines, `the page calls the vendor’s API through the backend all the same: ${used.status}`];
}

async function signout(side) {
  const tab = side === "sample" ? sampleTab() : cookieTab();
  await tab.open();
  await turn(side, "expire");
  await turn(side, "slow");
  if (side === "sample") {
    const refresh = tab.open();
    await pause(100);
    tab.forget(); // all that the sample has for signing out
    await refresh;
    const after = await tab.fetch();
    return [
      tab.holdsToken() ? "the late answer put a new token into the signed-out page" : "the page holds no token",
      `the vendor’s API says ${after.status} to that page`,
    ];
  }
  const refresh = tab.client.refresh().then(() => true, () => false);
  await pause(100);
  await tab.client.logout();
  const came = await refresh;
  const after = await fetch("/demo/kit/consent/notices");
  return [
    came ? "the late answer set the signed-out user’s cookie again" : "the late answer was dropped: the page ended its renewal, the cache hands out nothing from before the sign-out",
    `the backend says ${after.status} to that page`,
  ];
}

export const state = async () => (await fetch("/demo/state")).json();

/** What each act plays, and what its numbers mean. */
export const acts = {
  tabs: [tabs, (l, r) => `Every tab of the sample bought a token and so ended the other tabs’: ${l.vendor_calls} vendor calls, and ${l.unauthorized} answers were 401. ` +
    `bearerkit bought ${r.vendor_calls === 1 ? "one" : r.vendor_calls} and gave it to every tab.`],
  expire: [expire, (l, r) => `With the sample, the page meets the expiry: ${l.unauthorized} answers were 401 before it could renew. ` +
    `bearerkit renewed once in the backend and sent the calls again: the page saw ${r.unauthorized}.`],
  down: [down, (l, r) => `The sample turned the outage into ${l.vendor_calls} vendor calls. bearerkit made ${r.vendor_calls}: it remembers ` +
    "Retry-After, answers at once meanwhile, and tells its browser client."],
  attack: [attack, (l, r) => `The sample puts what the caller sends into the vendor’s path, asks nobody who they are, and has no limit. Its API key ` +
    `strayed ${l.strayed} times; bearerkit’s ${r.strayed} times: it knows its tenants, takes the user from the session and counts by the real address.`],
  look: [look, () => "With the sample every script on the page can read the pair. bearerkit can keep the token in a cookie that no script reads, " +
    "and attach it in the backend."],
  signout: [signout, () => "The sample has no sign-out, so a refresh under way signs the page in again. bearerkit forgets the grant, ends the session " +
    "and throws the late answer away. The 401s on its side are wanted."],
};
