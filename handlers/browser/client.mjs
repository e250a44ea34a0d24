// @ts-check
// bearerkit in the browser: takes tokens from the endpoints of package handlers
// and renews them, in memory only.

/**
 * @typedef {object} Options
 * @property {string} base Where the endpoints are, such as "/api/consent".
 * @property {string} [token] Path of generate below base; "token" by default.
 * @property {string} [refresh] The same for refresh; "refresh-token", "" for none.
 * @property {string} [signOut] The same for sign-out; "sign-out", "" for none.
 * @property {object | (() => object | Promise<object>)} [identity] Members of every body: who, which tenant.
 * @property {Record<string, string>} [headers] Headers of the calls to the endpoints.
 * @property {boolean} [cookie] The server keeps the token in a cookie.
 * @property {string[]} [origins] Origins that may get the token, besides the page's and base's.
 * @property {() => void} [onSignOut] Called once, when this tab or another one has signed out:
 *   after the server's answer, or after 3 seconds. It may navigate.
 * @property {typeof globalThis.fetch} [fetch] Makes the requests.
 */

/**
 * @typedef {object} Client It serves one user: create another one for the next.
 * @property {(input: RequestInfo | URL, init?: RequestInit) => Promise<Response>} fetch fetch with the
 *   token, for the origins that may get it. A 401 with invalid_token, or with a cookie any for Bearer, renews
 *   it and sends the request once more, if its body can be read again; otherwise the 401 is the answer.
 * @property {() => Promise<string>} token The current token; "" if it is in a cookie.
 * @property {() => Promise<string>} refresh A new token.
 * @property {() => Promise<void>} logout Forgets the tokens, here and in the tabs of the same identity, ends
 *   renewals and tells the server.
 * @property {() => void} close Ends renewals and ignores other tabs. The user stays signed in.
 */

/** @typedef {{access: string, refresh: string, end: number}} Held */

/** Why no token came. */
export class BearerError extends Error {
  /** @param {string} message @param {{status?: number, code?: string, retryAfter?: number}} [info] */
  constructor(message, { status = 0, code = "", retryAfter = 0 } = {}) {
    super(message);
    this.name = "BearerError";
    this.status = status;
    /** The answer's, signed_out or closed. */
    this.code = code;
    /** Seconds until the server is asked again. */
    this.retryAfter = retryAfter;
  }
}

/** @param {Options} options @returns {Client} */
export function createClient(options) {
  const { token = "token", refresh = "refresh-token", signOut = "sign-out", identity = {}, headers = {}, cookie, onSignOut = () => {} } = options;
  const send = options.fetch ?? ((request, init) => globalThis.fetch(request, init));
  const here = globalThis.document?.baseURI ?? globalThis.location?.href;
  const base = new URL(options.base.replace(/\/*$/, "/"), here);
  const own = globalThis.origin; // that of a srcdoc frame is its parent's
  const origins = new Set([base, ...(own && own !== "null" ? [own] : []), ...(options.origins ?? [])].map((u) => new URL(u).origin));
  const name = "bearerkit " + base;

  let held = /** @type {Held | null} */ (null);
  let renewal = /** @type {Promise<Held> | null} */ (null);
  let busy = /** @type {BearerError | null} */ (null);
  let busyUntil = 0;
  let over = ""; // or signed_out, or closed
  let told = false;
  const ended = new AbortController();

  const who = async () => (typeof identity === "function" ? identity() : identity);

  const tabs = globalThis.BroadcastChannel && new BroadcastChannel(name);
  if (tabs) {
    tabs.onmessage = async ({ data: [them, done] }) => {
      // A cookie is the whole browser's.
      if (!cookie && them !== JSON.stringify(await who().catch(() => null))) return;
      if (!over) {
        end("signed_out");
        setTimeout(tell, 3000);
      }
      if (done) tell();
    };
  }

  /** @param {string} code */
  function end(code) {
    over = code;
    held = null;
    ended.abort(new BearerError(code.replace("_", " "), { code }));
  }

  function tell() {
    tabs?.close();
    if (told || over === "closed") return;
    told = true;
    onSignOut();
  }

  /** Renewals of all tabs share a lock, and a sign-out has it alone. @template T @param {LockMode} mode @param {AbortSignal} signal @param {() => Promise<T>} work @returns {Promise<T>} */
  async function locked(mode, signal, work) {
    let begun = false;
    try {
      const lock = globalThis.navigator?.locks?.request(name, { mode, signal }, () => ((begun = true), work()));
      if (lock) return await lock;
    } catch (error) {
      if (begun || ended.signal === signal && signal.aborted) throw error; // else no lock is to be had
    }
    return work();
  }

  /** @param {string} to @param {object} members @param {Record<string, string>} [more] @param {RequestInit} [init] */
  async function post(to, members, more, init) {
    const left = busyUntil - Date.now();
    if (busy && left > 0 && left < busy.retryAfter * 1000 + 1) throw busy; // unless the clock was set back
    const all = new Headers({ "Content-Type": "application/json", ...more });
    for (const name in headers) all.set(name, headers[name]);
    const response = await send(new URL(to, base), {
      method: "POST",
      headers: all,
      body: JSON.stringify({ ...(await who()), ...members }),
      credentials: cookie ? "include" : "same-origin",
      redirect: "error",
      ...init,
    });
    const body = (await response.json().catch(() => null)) ?? {};
    if (response.ok) return { end: expiry(body, response), body };
    const { status } = response;
    const retryAfter = wait(response.headers.get("Retry-After"));
    const error = new BearerError(body.detail ?? `HTTP ${status}`, { status, code: body.code, retryAfter });
    if (retryAfter > 0) [busy, busyUntil] = [error, Date.now() + retryAfter * 1000];
    throw error;
  }

  /** @param {string} to @param {object} members @param {Record<string, string>} [more] */
  async function take(to, members, more) {
    const { end, body } = await post(to, members, more, { signal: ended.signal });
    ended.signal.throwIfAborted(); // it came during a sign-out
    const access = cookie ? "" : (body.token ?? body.access_token);
    if (typeof access !== "string" || !(access || cookie)) throw new BearerError("no token in the answer");
    return (held = { access, refresh: body.refresh_token ?? "", end });
  }

  /** @param {Held | null} rejected what a server refused @param {boolean} [gone] only the cookie was missing */
  async function renew(rejected, gone) {
    if (held?.refresh && refresh) {
      const spent = held;
      try {
        const next = await take(refresh, { refresh_token: spent.refresh });
        next.refresh ||= spent.refresh;
        return next;
      } catch (error) {
        if (!(error instanceof BearerError) || error.status !== 401) throw error;
        spent.refresh = ""; // it works no more
      }
    }
    if (!(rejected && cookie) || gone) {
      const next = await take(token, {});
      if (gone || next.access !== rejected?.access) return next; // maybe one that another tab has got
    }
    return take(token, {}, { "Cache-Control": "no-cache" });
  }

  /** The token to use, and not rejected. @param {Held | null} rejected @param {boolean} [gone] */
  async function current(rejected, gone) {
    ended.signal.throwIfAborted();
    if (held && held !== rejected && Date.now() < held.end) return held;
    renewal ??= locked("shared", ended.signal, () => renew(rejected, gone)).finally(() => (renewal = null));
    return renewal;
  }

  /** @param {RequestInfo | URL} input @param {RequestInit} [init] */
  async function fetchWithToken(input, init) {
    const url = new URL(input instanceof Request ? input.url : input, here ?? base);
    if (!origins.has(url.origin)) return send(input, init);
    if (cookie) init = { credentials: "include", ...init };
    /** @param {Held} token */
    const attempt = (token) => {
      const request = new Request(input instanceof Request ? input : url, init);
      if (!cookie) request.headers.set("Authorization", "Bearer " + token.access);
      return send(request);
    };
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined);
    const used = await leavable(current(null), signal);
    const response = await attempt(used);
    const once = init?.body instanceof ReadableStream || (input instanceof Request && input.bodyUsed);
    const challenge = response.headers.get("WWW-Authenticate") ?? "";
    const refused = /\binvalid_token\b/.test(challenge);
    if (response.status !== 401 || once || !(refused || (cookie && /\bbearer\b/i.test(challenge)))) return response;
    const next = await leavable(current(used, !refused), signal).catch(() => used);
    signal?.throwIfAborted();
    if (next === used || (!cookie && next.access === used.access)) return response;
    response.body?.cancel().catch(() => {});
    return attempt(next);
  }

  async function logout() {
    const last = held;
    if (!over) end("signed_out");
    busy = null;
    const timer = setTimeout(tell, 3000);
    let me = "";
    const bearer = last?.access ? { Authorization: "Bearer " + last.access } : undefined;
    const members = { token: last?.access || undefined, refresh_token: last?.refresh || undefined };
    let sent = /** @type {Promise<any> | undefined} */ (undefined);
    const call = () => (sent ??= post(signOut, members, bearer, { keepalive: true }));
    if (signOut) globalThis.addEventListener?.("pagehide", call);
    try {
      me = JSON.stringify(await who());
      if (!told) tabs?.postMessage([me]);
      if (signOut) await locked("exclusive", AbortSignal.timeout(1000), call);
    } finally {
      globalThis.removeEventListener?.("pagehide", call);
      clearTimeout(timer);
      if (!told) tabs?.postMessage([me, true]);
      tell();
    }
  }

  return {
    fetch: fetchWithToken,
    token: async () => (await current(null)).access,
    refresh: async () => (await current(held)).access,
    logout,
    close() {
      if (!over) end("closed");
      tabs?.close();
    },
  };
}

/** Retry-After in seconds: a number of them or a date (RFC 9110 section 10.2.3). @param {string | null} value */
function wait(value) {
  if (!value) return 0;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Math.min(Math.max(seconds || 0, 0), 300);
}

/** When a token ends, by our clock, which may be wrong: with no end ahead it is used until it is refused. @param {any} body @param {Response} response */
function expiry(body, response) {
  const now = Date.now();
  if (body.expires_in != null) return now + body.expires_in * 1000;
  const at = body.expires_at ?? body.expiresAt ?? body.expiration_time;
  const left = (typeof at === "number" ? at * 1000 : Date.parse(at)) - (Date.parse(response.headers.get("Date") ?? "") || now);
  return left > 0 ? now + left : Infinity;
}

/** promise, but the caller leaves when signal is aborted. @template T @param {Promise<T>} promise @param {AbortSignal | null} [signal] @returns {Promise<T>} */
function leavable(promise, signal) {
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal?.reason);
    if (signal?.aborted) leave();
    signal?.addEventListener("abort", leave);
    promise.then(resolve, reject).finally(() => signal?.removeEventListener("abort", leave));
  });
}
