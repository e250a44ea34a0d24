// The scenes with two sides. Each plays the same page on both, the sample's first,
// and returns what the page saw. The server counts calls and answers itself.
import { createClient, BearerError } from "./bearerkit.mjs";

const { user, organisation, workspace } = document.body.dataset;
const tenant = { organisation_uuid: organisation, workspace_uuid: workspace };

const post = (path, body, headers = {}) =>
  fetch(path, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) });

/** The answer, if it is a good one. */
export async function answered(answer) {
  if (answer.ok) return answer;
  const { detail } = await answer.json().catch(() => ({}));
  throw new Error(`the gateway answered ${answer.status}${detail ? `, “${detail}”` : ""}`);
}

/** What the server counted for this visitor. */
export const state = async () => (await answered(await fetch("/demo/state"))).json();

let stage = ""; // names this visitor's stage to calls without a cookie

/** Makes both sides new and signs the user in. */
export async function begin() {
  ({ stage } = await (await answered(await post("/demo/begin", {}))).json());
}

const turn = async (side, what) => answered(await post("/demo/vendor", { side, do: what }));
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

/** A tab of an application with bearerkit's browser client. */
function kitTab() {
  const client = createClient({ base: "/demo/kit/api/consent", identity: tenant });
  return { open: () => client.token(), fetch: () => client.fetch("/demo/kit/consent/notices"), client };
}

/** The same with the token in a cookie. */
function cookieTab() {
  const client = createClient({ base: "/demo/kit/api/consent", identity: tenant, token: "cookie", refresh: "", cookie: true });
  return { open: () => client.token(), client };
}

const tabOf = { sample: sampleTab, kit: kitTab };

async function tabs(side) {
  const all = await times(8, tabOf[side]);
  await Promise.all(all.map((tab) => tab.open()));
  const answers = (await Promise.all(all.map((tab) => times(5, tab.fetch)))).flat();
  return [`${count(answers)} of 40 calls succeeded in the end`];
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
    `each tab got ${first.status} without a time to try again, so it tried three times in a row`,
    `${count(after)} of 8 tabs got a token when the vendor was back`,
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
    `${refused.length} tabs got ${refused[0]?.status} with Retry-After: ${wait}, and waited for that long`,
    `${after.filter(Boolean).length} of 8 tabs got a token when the vendor was back`,
  ];
}

const other = "00000000-0000-4000-8000-000000000000";

async function attack(side) {
  const ask = (query, who, headers) => post(endpoint(side, "token", query), { org_user_id: who }, headers);
  const now = async () => (await state()).scene[side];
  /** An attempt, and whether the API key was sent where it should not go. */
  const stray = async (query) => {
    const before = await now();
    const answer = await ask({ ...tenant, ...query }, user);
    const sent = (await now()).strayed > before.strayed;
    return `${answer.status}, and the API key was ${sent ? "" : "not "}sent there`;
  };
  const climbed = await stray({ organisation_uuid: "../../../admin/api-keys?x=" });
  const foreign = await stray({ organisation_uuid: other });
  const bob = await ask(tenant, "bob");
  const before = await now();
  await fromElsewhere(side);
  const called = (await now()).token_calls > before.token_calls;
  await times(110, (i) => ask(tenant, user, { "X-Forwarded-For": `203.0.113.${i}` }));
  const { limited } = await now();
  return [
    `../ in the path: ${climbed}`,
    `another tenant: ${foreign}`,
    `another user’s token: ${bob.status}, ${bob.ok ? "handed out" : "refused"}`,
    `a call from another web site: ${called ? "it worked, and ended the user’s tokens" : "refused"}`,
    `110 calls from made-up addresses: ${limited} refused` + (side === "sample" ? ", for there is no limit" : " with 429, by go-chi/httprate"),
  ];
}

/** A call from a sandboxed frame, which has no origin, as another site's page would make it. */
function fromElsewhere(side) {
  return new Promise((resolve) => {
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    frame.title = "Another site";
    frame.hidden = true;
    frame.src = `/demo/attacker?${new URLSearchParams({ stage, side, ...tenant })}`;
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
    `tokens in cookies and storage that scripts can read: ${stored.length}`,
  ];
  if (side === "sample") return [...lines, "a script can copy both tokens and use them elsewhere"];
  const used = await fetch("/demo/kit/consent/notices");
  return [...lines, `the page still reaches the vendor’s API, through the backend: ${used.status}`];
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
      `the vendor’s API answers the signed-out page with ${after.status}`,
    ];
  }
  const refresh = tab.client.refresh().then(() => true, () => false);
  await pause(100);
  await tab.client.logout();
  const came = await refresh;
  const after = await fetch("/demo/kit/consent/notices");
  return [
    came ? "the late answer set the signed-out user’s cookie again" : "the late answer was dropped, and no token came back",
    `the backend answers the signed-out page with ${after.status}, as it should`,
  ];
}

const plural = (n, one, more = `${one}s`) => `${n} ${n === 1 ? one : more}`;

/** What each scene plays, and what its numbers mean: l is the sample's, r is bearerkit's. */
export const acts = {
  tabs: [tabs, (l, r) => "The sample: every tab got a token, and so ended the other tabs’ tokens: " +
    `${plural(l.token_calls, "token call")}, and ${plural(l.unauthorized, "answer")} of 401. ` +
    `bearerkit got ${plural(r.token_calls, "token")} and gave it to every tab.`],
  expire: [expire, (l, r) => `The sample: the page finds out by itself: ${plural(l.unauthorized, "call was", "calls were")} answered 401, and then it renewed. ` +
    `bearerkit renewed in the backend and repeated the calls there. The page saw ${r.unauthorized} answers of 401.`],
  down: [down, (l, r) => `The sample made ${plural(l.token_calls, "token call")}, most of them to a vendor that was down. ` +
    `bearerkit made ${r.token_calls}. It remembers Retry-After, answers at once until that time is over, ` +
    "and tells its browser client when to come back."],
  attack: [attack, (l, r) => "The sample puts what the caller sends into the vendor’s path, does not ask who the caller is and has no limit. " +
    `Its API key was sent to a wrong place ${plural(l.strayed, "time")}, bearerkit’s ${plural(r.strayed, "time")}. bearerkit knows its tenants, takes the user ` +
    "from the session and refuses calls of other sites. The limit is not bearerkit’s: go-chi/httprate stands in front of it."],
  look: [look, () => "The sample: every script on the page can read the token and the refresh token. bearerkit can keep the token in a cookie " +
    "that no script can read. The backend puts it on the calls."],
  signout: [signout, (l, r) => "The sample has no sign-out, and the refresh signs the page in again. bearerkit forgets the user’s tokens, " +
    `and the application ends its session. After that ${plural(r.turned_away, "call was", "calls were")} answered 401. That is wanted, and not counted above.`],
};
