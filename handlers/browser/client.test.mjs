import assert from "node:assert/strict";
import { test } from "node:test";
import { BearerError, createClient } from "./client.mjs";

const base = "https://app.test/api/";

/** A server in memory: endpoints below base, everything else is the API. */
function server(t, routes = {}) {
  const seen = [];
  let issued = 0;
  const json = (body, init) => Response.json(body, init);
  const s = {
    seen,
    live: "t1",
    paths: () => seen.map((c) => c.path),
    problem: (status, code, headers) => json({ code, detail: "text of " + code }, { status, headers }),
    issue: () => json({ token: (s.live = "t" + ++issued), refresh_token: "r" + issued, expires_in: 3600 }),
    async fetch(input, init) {
      const request = new Request(input, init);
      const url = new URL(request.url);
      const path = url.href.startsWith(base) ? url.pathname.slice(5) : url.pathname;
      const body = request.body ? await request.text() : "";
      const call = { path, url: url.href, body, method: request.method, headers: request.headers, credentials: request.credentials };
      seen.push(call);
      await new Promise((resolve) => setImmediate(resolve));
      const route = routes[path];
      if (route) return route(call, s);
      if (path === "token" || path === "refresh-token") return s.issue();
      if (path === "sign-out") return new Response(null, { status: 204 });
      if (request.headers.get("Authorization") === "Bearer " + s.live) return json({ ok: true, body });
      return s.problem(401, "invalid_token", { "WWW-Authenticate": 'Bearer error="invalid_token"' });
    },
  };
  s.client = (options = {}) => {
    const c = createClient({ base, fetch: s.fetch, origins: ["https://api.test"], ...options });
    t.after(() => c.close());
    return c;
  };
  return s;
}

const api = "https://api.test/data";

test("a token is taken once and attached", async (t) => {
  const s = server(t);
  const c = s.client({ identity: { org_user_id: "alice" }, headers: { "X-App": "1" } });
  const all = await Promise.all(Array.from({ length: 10 }, () => c.fetch(api)));
  assert.ok(all.every((r) => r.ok));
  assert.deepEqual(s.paths().filter((p) => p === "token").length, 1);
  const [call] = s.seen;
  assert.equal(call.method, "POST");
  assert.equal(call.headers.get("Content-Type"), "application/json");
  assert.equal(call.headers.get("X-App"), "1");
  assert.deepEqual(JSON.parse(call.body), { org_user_id: "alice" });
  assert.equal(await c.token(), "t1");
});

test("a refused token is renewed once for the tab and every request replayed whole", async (t) => {
  const s = server(t);
  const c = s.client();
  await c.token();
  s.live = "revoked";
  const all = await Promise.all(Array.from({ length: 10 }, (_, i) => c.fetch(api, { method: "POST", body: "body " + i })));
  const bodies = await Promise.all(all.map((r) => r.json()));
  assert.deepEqual(bodies.map((b) => b.body), all.map((_, i) => "body " + i));
  assert.equal(s.paths().filter((p) => p === "refresh-token").length, 1);
  assert.equal(s.paths().filter((p) => p === "token").length, 1);
  assert.equal(JSON.parse(s.seen.find((x) => x.path === "refresh-token").body).refresh_token, "r1");
});

test("a late 401 with an old token takes the newer one", async (t) => {
  let hold;
  const s = server(t, {
    "/slow": async () => {
      await new Promise((resolve) => (hold = resolve));
      return s.problem(401, "invalid_token", { "WWW-Authenticate": 'Bearer error="invalid_token"' });
    },
  });
  const c = s.client();
  const slow = c.fetch("https://api.test/slow");
  while (!hold) await new Promise((resolve) => setImmediate(resolve));
  await c.refresh();
  hold();
  hold = null;
  while (!hold) await new Promise((resolve) => setImmediate(resolve));
  hold();
  assert.equal((await slow).status, 401); // twice refused is final
  assert.deepEqual(s.seen.filter((x) => x.path === "/slow").map((x) => x.headers.get("Authorization")), ["Bearer t1", "Bearer t2"]);
  assert.equal(s.paths().filter((p) => p === "refresh-token").length, 1);
});

test("only invalid_token, and only a body that can be read again, is replayed", async (t) => {
  const s = server(t, { "/bare": () => s.problem(401, "not_signed_in", { "WWW-Authenticate": "Bearer" }) });
  const c = s.client();
  assert.equal((await c.fetch("https://api.test/bare")).status, 401);
  assert.equal(s.paths().filter((p) => p === "/bare").length, 1);

  const stream = () => new Blob(["x"]).stream();
  s.live = "revoked";
  let r = await c.fetch(api, { method: "POST", body: stream(), duplex: "half" });
  assert.equal(r.status, 401);
  assert.equal((await r.json()).code, "invalid_token", "the 401's body is whole");
  r = await c.fetch(new Request(api, { method: "POST", body: "x" }));
  assert.equal(r.status, 401);
  assert.equal(s.paths().filter((p) => p === "refresh-token").length, 0);

  r = await c.fetch(new Request(api, { headers: { "X-Kept": "1" } })); // no body
  assert.equal(r.status, 200);
  assert.equal(s.seen.at(-1).headers.get("X-Kept"), "1");
});

test("a refresh token that is dead gives way to generate, and one that another tab spent to its token", async (t) => {
  const s = server(t, { "refresh-token": () => s.problem(401, "refresh_rejected") });
  const c = s.client();
  await c.token();
  s.live = "revoked";
  assert.equal((await c.fetch(api)).status, 200);
  assert.deepEqual(s.paths(), ["token", "/data", "refresh-token", "token", "/data"]);
});

test("generate that brings the same token is asked for another one", async (t) => {
  let token = "same";
  const s = server(t, {
    token: (call) => {
      if (call.headers.get("Cache-Control") === "no-cache") token = s.live;
      return Response.json({ access_token: token, expires_at: "2999-01-01T00:00:00Z" });
    },
  });
  const c = s.client();
  s.live = "newer";
  assert.equal((await c.fetch(api)).status, 200);
  assert.deepEqual(s.paths(), ["token", "/data", "token", "token", "/data"]);
});

test("a server that gives no newer token gets its 401 through, without a second request", async (t) => {
  const s = server(t, { token: () => Response.json({ token: "same" }) });
  const c = s.client();
  s.live = "other";
  const r = await c.fetch(api);
  assert.equal(r.status, 401);
  assert.equal((await r.json()).code, "invalid_token");
  assert.equal(s.paths().filter((p) => p === "/data").length, 1);
});

test("every spelling of an end", async (t) => {
  const soon = Date.now() / 1000 + 3600;
  for (const [end, calls] of [
    [{ expires_in: 3600 }, 1],
    [{ expires_in: 0 }, 2],
    [{ expires_at: new Date(soon * 1000).toISOString() }, 1],
    [{ expires_at: "2001-01-01T00:00:00Z" }, 1],
    [{ expiresAt: soon }, 1],
    [{ expiresAt: 1 }, 1],
    [{ expiration_time: soon }, 1],
    [{ expiration_time: 1595917409 }, 1],
    [{ expires_at: "no date" }, 1],
    [{}, 1],
  ]) {
    const s = server(t, { token: () => Response.json({ token: "x", ...end }) });
    const c = s.client();
    await c.token();
    await c.token();
    assert.equal(s.seen.length, calls, JSON.stringify(end));
  }
});

test("Retry-After is honoured: nobody asks before", async (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1_700_000_000_000 });
  let down = true;
  const s = server(t, { token: () => (down ? s.problem(503, "upstream_busy", { "Retry-After": "7" }) : s.issue()) });
  const c = s.client();
  for (let i = 0; i < 3; i++) {
    await assert.rejects(c.fetch(api), (e) => e instanceof BearerError && e.status === 503 && e.code === "upstream_busy" && e.retryAfter === 7);
  }
  assert.equal(s.seen.length, 1);
  down = false;
  t.mock.timers.tick(6_999);
  await assert.rejects(c.token());
  assert.equal(s.seen.length, 1);
  t.mock.timers.tick(1);
  assert.equal(await c.token(), "t1");
});

test("Retry-After as a date, and failures without one", async (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1_700_000_000_000 });
  let answer;
  const s = server(t, { token: () => answer() });
  const c = s.client();
  answer = () => new Response("<html>", { status: 502 });
  await assert.rejects(c.token(), { status: 502, code: "", retryAfter: 0, message: "HTTP 502" });
  answer = () => Response.json({});
  await assert.rejects(c.token(), { message: "no token in the answer" });
  answer = () => Response.json("text");
  await assert.rejects(c.token(), { message: "no token in the answer" });
  answer = () => s.problem(429, "rate_limited", { "Retry-After": new Date(Date.now() + 60_000).toUTCString() });
  await assert.rejects(c.token(), { retryAfter: 60 });
  assert.equal(s.seen.length, 4);
});

test("a renewal that fails leaves the 401 as the answer", async (t) => {
  const s = server(t, { "refresh-token": () => s.problem(503, "upstream_busy", { "Retry-After": "1" }) });
  const c = s.client();
  await c.token();
  s.live = "revoked";
  const r = await c.fetch(api);
  assert.equal(r.status, 401);
  assert.equal((await r.json()).code, "invalid_token");
});

test("no token leaves for another origin", async (t) => {
  const s = server(t, { "/x": () => new Response("fine") });
  const c = s.client({ origins: [] });
  await c.token();
  for (const url of ["https://evil.test/x", "http://app.test/x", "https://app.test:8443/x", new Request("https://evil.test/x")]) {
    assert.equal(await (await c.fetch(url)).text(), "fine");
    assert.equal(s.seen.at(-1).headers.get("Authorization"), null);
  }
  await c.fetch("/x"); // relative: base's own origin
  assert.equal(s.seen.at(-1).headers.get("Authorization"), "Bearer t1");
});

test("logout forgets, tells the server and the other tabs, and fences what is under way", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] }); // no tab stops waiting for the answer
  const s = server(t);
  const told = [];
  const c = s.client({ onSignOut: () => told.push("here") });
  const heard = new Promise((resolve) => s.client({ onSignOut: () => resolve(told.push("there")) }));
  const elsewhere = s.client({ base: "https://other.test/api", onSignOut: () => told.push("elsewhere") });
  await c.token();
  const renewal = c.refresh();
  const out = c.logout();
  await assert.rejects(renewal, { code: "signed_out" });
  await out;
  await heard;
  assert.deepEqual(told, ["here", "there"]);
  const call = s.seen.find((x) => x.path === "sign-out");
  assert.equal(call.headers.get("Authorization"), "Bearer t1");
  assert.deepEqual(JSON.parse(call.body), { token: "t1", refresh_token: "r1" });
  for (const again of [c.token(), c.refresh(), c.fetch(api)]) await assert.rejects(again, { code: "signed_out" });
  assert.equal(await elsewhere.token().catch((e) => e.code), "invalid_token", "of another base: not signed out");
  await c.logout();
  assert.equal(told.length, 2);
});

test("with a cookie nothing is attached and a 401 asks for a new one", async (t) => {
  let fresh = false;
  const s = server(t, {
    token: (call) => {
      fresh = call.headers.get("Cache-Control") === "no-cache";
      return Response.json({ expires_in: 60 });
    },
    "/data": (call) =>
      fresh ? Response.json(call.credentials) : s.problem(401, "invalid_token", { "WWW-Authenticate": 'Bearer error="invalid_token"' }),
  });
  const c = s.client({ cookie: true });
  assert.equal(await c.token(), "");
  const r = await c.fetch(api);
  assert.equal(await r.json(), "include");
  assert.ok(s.seen.every((x) => x.headers.get("Authorization") === null && x.credentials === "include"));
  assert.deepEqual(s.paths(), ["token", "/data", "token", "/data"]);
});

test("a caller who aborts leaves alone", async (t) => {
  let answer;
  const s = server(t, { token: () => new Promise((resolve) => (answer = resolve)) });
  const c = s.client();
  const stop = new AbortController();
  const left = c.fetch(api, { signal: stop.signal });
  const stays = c.fetch(api);
  while (!answer) await new Promise((resolve) => setImmediate(resolve));
  stop.abort(new Error("left"));
  await assert.rejects(left, { message: "left" });
  answer(s.issue());
  assert.equal((await stays).status, 200);
  assert.equal(s.paths().filter((p) => p === "token").length, 1);
  await assert.rejects(c.fetch(api, { signal: AbortSignal.abort(new Error("before")) }), { message: "before" });
});

test("identity may be a function, paths may be others or none", async (t) => {
  let n = 0;
  const s = server(t, { gen: () => Response.json({ token: s.live, refresh_token: "r" }) });
  const c = s.client({ base: "https://app.test/api//", token: "gen", refresh: "", signOut: "", identity: async () => ({ n: ++n }) });
  await c.token();
  await c.refresh();
  await c.logout();
  assert.deepEqual(s.seen.map((x) => [x.path, x.body]), [["gen", '{"n":1}'], ["gen", '{"n":2}'], ["gen", '{"n":3}']]);
});

/** Resolves when f() is truthy; a turn of the event loop at a time. */
async function until(f) {
  while (!f()) await new Promise((resolve) => setImmediate(resolve));
}

/** A route whose answer the test gives. */
function held() {
  const route = () => new Promise((resolve) => (route.answer = resolve));
  return route;
}

test("a clock that is two hours ahead costs no call per fetch", async (t) => {
  const server_ = () => Math.floor(Date.now() / 1000) - 7200;
  for (const headers of [{}, { Date: new Date(Date.now() - 7200_000).toUTCString() }]) {
    const s = server(t, { token: () => Response.json({ token: s.live, expiresAt: server_() + 3600 }, { headers }) });
    const c = s.client();
    for (let i = 0; i < 5; i++) assert.equal((await c.fetch(api)).status, 200);
    assert.equal(s.paths().filter((p) => p === "token").length, 1);
  }
});

test("an end is read by the server's clock", async (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: Date.parse("2026-01-01T02:00:00Z") }); // two hours ahead
  const s = server(t, {
    token: () => Response.json({ token: s.live, expires_at: "2026-01-01T01:00:00Z" }, { headers: { Date: "Thu, 01 Jan 2026 00:00:00 GMT" } }),
  });
  const c = s.client();
  await c.token();
  t.mock.timers.tick(3_599_000);
  await c.token();
  assert.equal(s.seen.length, 1);
  t.mock.timers.tick(1_000);
  await c.token();
  assert.equal(s.seen.length, 2);
});

test("Retry-After is believed for five minutes at most", async (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1_700_000_000_000 });
  let down = true;
  const s = server(t, { token: () => (down ? s.problem(503, "upstream_busy", { "Retry-After": "99999999" }) : s.issue()) });
  const c = s.client();
  await assert.rejects(c.token(), { retryAfter: 300 });
  down = false;
  t.mock.timers.tick(300_000);
  assert.equal(await c.token(), "t1");
});

test("Retry-After ends in time although the clock was set back", async (t) => {
  const start = 1_700_000_000_000;
  t.mock.timers.enable({ apis: ["Date"], now: start });
  let down = true;
  const s = server(t, { token: () => (down ? s.problem(503, "upstream_busy", { "Retry-After": "5" }) : s.issue()) });
  const c = s.client();
  await assert.rejects(c.token(), { retryAfter: 5 });
  down = false;
  t.mock.timers.tick(2_000);
  t.mock.timers.setTime(start); // by two seconds: it waits no longer than it was told
  await assert.rejects(c.token(), { retryAfter: 5 });
  assert.equal(s.seen.length, 1);
  t.mock.timers.setTime(start - 7_200_000);
  assert.equal(await c.token(), "t1");
});

test("headers replace those of the client in any case", async (t) => {
  for (const names of [["authorization", "content-type", "cache-control"], ["AUTHORIZATION", "Content-type", "CACHE-CONTROL"]]) {
    const s = server(t);
    const c = s.client({ headers: Object.fromEntries(names.map((name, i) => [name, ["Bearer APP", "application/json", "max-age=0"][i]])) });
    await c.token();
    await c.logout();
    assert.deepEqual(s.paths(), ["token", "sign-out"]);
    for (const call of s.seen) {
      assert.equal(call.headers.get("Content-Type"), "application/json");
      assert.equal(call.headers.get("Authorization"), "Bearer APP");
      assert.equal(call.headers.get("Cache-Control"), "max-age=0");
    }
  }
});

test("an option that is undefined is its default", async (t) => {
  const s = server(t);
  const none = Object.fromEntries(["token", "refresh", "signOut", "identity", "headers", "cookie", "onSignOut"].map((name) => [name, undefined]));
  const c = s.client(none);
  await c.token();
  await c.refresh();
  await c.logout();
  assert.deepEqual(s.paths(), ["token", "refresh-token", "sign-out"]);
});

test("an abort during a renewal is an AbortError", async (t) => {
  const refresh = held();
  const s = server(t, { "refresh-token": refresh });
  const c = s.client();
  await c.token();
  s.live = "revoked";
  const stop = new AbortController();
  const call = c.fetch(api, { signal: stop.signal });
  await until(() => refresh.answer);
  stop.abort();
  await assert.rejects(call, { name: "AbortError" });
  refresh.answer(s.issue());
});

test("one signal for many calls keeps nothing of them", async (t) => {
  const s = server(t);
  const c = s.client();
  const signal = new AbortController().signal;
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...a) => (listeners++, addEventListener.apply(signal, a));
  signal.removeEventListener = (...a) => (listeners--, removeEventListener.apply(signal, a));
  c.token();
  for (let i = 0; i < 20; i++) assert.equal((await c.fetch("/api/sign-out", { signal })).status, 204);
  await until(() => listeners === 0);
});

test("a cookie that is gone is renewed at once, without asking for a newer token", async (t) => {
  for (const challenge of ["Bearer", 'bearer realm="x"', 'Bearer error="invalid_token"', 'Basic realm="x", Bearer']) {
    let there = false;
    const s = server(t, {
      token: () => ((there = s.seen.length > 1), Response.json({ expires_in: 60 })),
      "/data": () => (there ? new Response("fine") : s.problem(401, "not_signed_in", { "WWW-Authenticate": challenge })),
    });
    const c = s.client({ cookie: true });
    const all = await Promise.all(Array.from({ length: 10 }, () => c.fetch(api)));
    assert.deepEqual(all.map((r) => r.status), Array(10).fill(200));
    const tokens = s.seen.filter((x) => x.path === "token");
    assert.equal(tokens.length, 2, challenge);
    assert.equal(tokens[1].headers.get("Cache-Control"), /invalid_token/.test(challenge) ? "no-cache" : null);
  }
});

test("with a cookie a 401 for something else, or one that stays, is the answer", async (t) => {
  const s = server(t, {
    token: () => Response.json({ expires_in: 60 }),
    "/basic": () => s.problem(401, "x", { "WWW-Authenticate": "Basic" }),
    "/data": () => s.problem(401, "not_signed_in", { "WWW-Authenticate": "Bearer" }),
  });
  const c = s.client({ cookie: true });
  assert.equal((await c.fetch("https://api.test/basic")).status, 401);
  assert.equal((await c.fetch(api)).status, 401);
  assert.deepEqual(s.paths(), ["token", "/basic", "/data", "token", "/data"]);
});

test("onSignOut comes after the server's answer, and the call outlives the page", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] }); // it does not stop waiting for the answer
  const out = held();
  const inits = [];
  const s = server(t, { "sign-out": out });
  const told = [];
  const c = s.client({ cookie: true, onSignOut: () => told.push(1), fetch: (url, init) => (inits.push(init), s.fetch(url, init)) });
  await c.token().catch(() => {});
  const done = c.logout();
  await until(() => out.answer);
  assert.equal(inits.at(-1).keepalive, true);
  assert.equal(told.length, 0, "not before the server knows");
  out.answer(new Response(null, { status: 204 }));
  await done;
  assert.equal(told.length, 1);
});

test("onSignOut does not wait for ever", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const out = held();
  const s = server(t, { "sign-out": out });
  let told = 0;
  const c = s.client({ onSignOut: () => told++ });
  const done = c.logout();
  await until(() => out.answer);
  t.mock.timers.tick(2_999);
  assert.equal(told, 0);
  t.mock.timers.tick(1);
  assert.equal(told, 1);
  out.answer(s.problem(503, "upstream_busy"));
  await assert.rejects(done, { code: "upstream_busy" });
  assert.equal(told, 1);
});

test("a sign-out aborts the renewal under way, here and in other tabs", async (t) => {
  const signals = [];
  const stuck = (url, init) =>
    new Promise((_, reject) => {
      signals.push(init.signal);
      init.signal.addEventListener("abort", () => reject(init.signal.reason));
    });
  const s = server(t);
  const fetch = (url, init) => (String(url).endsWith("/token") ? stuck(url, init) : s.fetch(url, init));
  const here = s.client({ cookie: true, fetch });
  const there = s.client({ cookie: true, fetch });
  const renewals = [here.token(), there.token()];
  const ends = renewals.map((r) => assert.rejects(r, { code: "signed_out" }));
  await until(() => signals.length === 2);
  await here.logout();
  await Promise.all(ends);
  assert.ok(signals.every((x) => x.aborted));
});

test("two identities on one base do not sign each other out", async (t) => {
  const s = server(t);
  const told = [];
  const alice = s.client({ identity: { org_user_id: "alice" }, onSignOut: () => told.push("alice") });
  const bob = s.client({ identity: { org_user_id: "bob" }, onSignOut: () => told.push("bob") });
  const heard = new Promise((resolve) =>
    s.client({ identity: async () => ({ org_user_id: "alice" }), onSignOut: () => resolve(told.push("alice too")) }));
  await bob.token();
  await alice.logout();
  await heard;
  assert.deepEqual(told.sort(), ["alice", "alice too"]);
  assert.equal(typeof (await bob.token()), "string");
});

test("close ends renewals, ignores other tabs and signs nobody out", async (t) => {
  const token = held();
  const s = server(t, { token });
  let told = 0;
  const c = s.client({ onSignOut: () => told++ });
  const call = c.token();
  await until(() => token.answer);
  c.close();
  token.answer(s.issue());
  await assert.rejects(call, { code: "closed" });
  await assert.rejects(c.fetch(api), { code: "closed" });
  await s.client().logout();
  assert.equal(told, 0);
  assert.deepEqual(s.paths(), ["token", "sign-out"]);
});
