// bearerkit in the browser: takes tokens from the endpoints of package handlers
// and renews them when they are refused. They are kept in memory only.

/**
 * @typedef {object} Options
 * @property {string} base Where the endpoints are mounted, such as "/api/consent".
 * @property {string} [token] Path of the generate endpoint below base; "token" by default.
 * @property {string} [refresh] Path of the refresh endpoint; "refresh-token" by default, "" for none.
 * @property {string} [signOut] Path of the sign-out endpoint; "sign-out" by default, "" for none.
 * @property {object | (() => object | Promise<object>)} [identity] Members of every body: who, which tenant.
 * @property {Record<string, string>} [headers] Headers of the calls to the endpoints.
 * @property {boolean} [cookie] The server keeps the token in a cookie, and nothing is attached here.
 * @property {string[]} [origins] Origins that may get the token, besides the page's own and base's.
 * @property {() => void} [onSignOut] Called once, when this tab or another one signs out.
 * @property {typeof globalThis.fetch} [fetch] Makes the requests; the browser's by default.
 */

/**
 * @typedef {object} Client A client that has signed out stays so: create another one for the next user.
 * @property {(input: RequestInfo | URL, init?: RequestInit) => Promise<Response>} fetch fetch with the
 *   token. A 401 with invalid_token renews it and sends the request once more, if its body can be read
 *   again and there is a newer token; otherwise the 401 is the answer. To an origin that may not get
 *   the token the request goes without.
 * @property {() => Promise<string>} token The current token; "" if it is in a cookie.
 * @property {() => Promise<string>} refresh A new token. Calls at the same time share one.
 * @property {() => Promise<void>} logout Forgets the tokens and tells the other tabs, then the server.
 */

/** What kept a token from coming. retryAfter is in seconds; until then the server is not asked again. */
export class BearerError extends Error {
  /** @param {string} message @param {{status?: number, code?: string, retryAfter?: number}} [info] */
  constructor(message, { status = 0, code = "", retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { name: "BearerError", status, code, retryAfter });
  }
}

/** @typedef {{access: string, refresh: string, end: number}} Held */

/** @param {Options} options @returns {Client} */
export function createClient(options) {
  const { identity = {}, headers = {}, cookie = false, onSignOut = () => {} } = options;
  const path = { token: "token", refresh: "refresh-token", signOut: "sign-out", ...options };
  const send = options.fetch ?? ((request, init) => globalThis.fetch(request, init));
  const here = globalThis.location?.href;
  const base = new URL(options.base.replace(/\/*$/, "/"), here);
  const origins = new Set([base, ...(here ? [here] : []), ...(options.origins ?? [])].map((u) => new URL(u).origin));

  let held = /** @type {Held | null} */ (null);
  let renewal = /** @type {Promise<Held> | null} */ (null);
  let busy = /** @type {BearerError | null} */ (null);
  let busyUntil = 0;
  let signedOut = false;

  const tabs = globalThis.BroadcastChannel && new BroadcastChannel("bearerkit " + base);
  if (tabs) tabs.onmessage = forget;

  function forget() {
    held = null;
    tabs?.close();
    if (!signedOut) {
      signedOut = true;
      onSignOut();
    }
  }

  function checkSignedIn() {
    if (signedOut) throw new BearerError("signed out", { code: "signed_out" });
  }

  async function post(to, members, more) {
    if (busy && Date.now() < busyUntil) throw busy;
    const who = typeof identity === "function" ? await identity() : identity;
    const response = await send(new URL(to, base), {
      method: "POST",
      headers: { "Content-Type": "application/json", ...more, ...headers },
      body: JSON.stringify({ ...who, ...members }),
      credentials: cookie ? "include" : "same-origin",
      redirect: "error",
    });
    const body = (await response.json().catch(() => null)) ?? {};
    if (response.ok) return body;
    const { status } = response;
    const retryAfter = wait(response.headers.get("Retry-After"));
    const error = new BearerError(body.detail ?? `HTTP ${status}`, { status, code: body.code, retryAfter });
    if (retryAfter > 0) [busy, busyUntil] = [error, Date.now() + retryAfter * 1000];
    throw error;
  }

  /** Keeps a token in any of the vendors' spellings. */
  function keep(body) {
    checkSignedIn(); // or this token would outlive the sign-out during which it came
    const access = cookie ? "" : (body.token ?? body.access_token);
    if (typeof access !== "string" || !(access || cookie)) throw new BearerError("no token in the answer");
    held = { access, refresh: body.refresh_token ?? "", end: expiry(body) };
    return held;
  }

  /** Replaces what is held; rejected is what a server refused, null if nothing was. */
  async function renew(rejected) {
    if (held?.refresh && path.refresh) {
      const spent = held;
      try {
        const next = keep(await post(path.refresh, { refresh_token: spent.refresh }));
        next.refresh ||= spent.refresh;
        return next;
      } catch (error) {
        if (error.status !== 401) throw error;
        spent.refresh = ""; // it works no more
      }
    }
    if (!(rejected && cookie)) {
      const next = keep(await post(path.token, {}));
      if (next.access !== rejected?.access) return next; // maybe one that another tab has got
    }
    return keep(await post(path.token, {}, { "Cache-Control": "no-cache" }));
  }

  /** The token to use, and not rejected: one renewal at a time for the whole tab. */
  async function current(rejected) {
    checkSignedIn();
    if (held && held !== rejected && Date.now() < held.end) return held;
    renewal ??= renew(rejected).finally(() => (renewal = null));
    return renewal;
  }

  async function fetchWithToken(input, init) {
    const url = new URL(input instanceof Request ? input.url : input, here ?? base);
    if (!origins.has(url.origin)) return send(input, init);
    if (cookie) init = { credentials: "include", ...init };
    const attempt = (token) => {
      const request = new Request(input instanceof Request ? input : url, init);
      if (!cookie) request.headers.set("Authorization", "Bearer " + token.access);
      return send(request);
    };
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined);
    const used = await leavable(current(null), signal);
    const response = await attempt(used);
    const once = init?.body instanceof ReadableStream || (input instanceof Request && input.bodyUsed);
    if (response.status !== 401 || once || !/\binvalid_token\b/.test(response.headers.get("WWW-Authenticate") ?? "")) {
      return response;
    }
    const next = await leavable(current(used), signal).catch(() => used);
    if (next === used || (!cookie && next.access === used.access)) return response;
    response.body?.cancel().catch(() => {});
    return attempt(next);
  }

  async function logout() {
    const last = held;
    if (!signedOut) tabs?.postMessage("signed out");
    forget();
    busy = null;
    if (path.signOut) {
      const bearer = last?.access ? { Authorization: "Bearer " + last.access } : {};
      await post(path.signOut, { token: last?.access, refresh_token: last?.refresh || undefined }, bearer);
    }
  }

  return {
    fetch: fetchWithToken,
    token: async () => (await current(null)).access,
    refresh: async () => (await current(held)).access,
    logout,
  };
}

/** Retry-After in seconds: a number of them or a date (RFC 9110 section 10.2.3). */
function wait(value) {
  if (!value) return 0;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Math.max(seconds || 0, 0);
}

/** When a token ends, in milliseconds since 1970; without an end it is used until it is refused. */
function expiry(body) {
  if (body.expires_in != null) return Date.now() + body.expires_in * 1000;
  const at = body.expires_at ?? body.expiresAt ?? body.expiration_time;
  return (typeof at === "number" ? at * 1000 : Date.parse(at)) || Infinity;
}

/** promise, but the caller leaves when signal is aborted. */
function leavable(promise, signal) {
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    if (signal?.aborted) leave();
    signal?.addEventListener("abort", leave, { once: true });
    promise.then(resolve, reject);
  });
}
