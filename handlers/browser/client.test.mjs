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
    t.after(() => c.logout().catch(() => {})); // closes the channel
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
    [{ expires_at: "2001-01-01T00:00:00Z" }, 2],
    [{ expiresAt: soon }, 1],
    [{ expiresAt: 1 }, 2],
    [{ expiration_time: soon }, 1],
    [{ expiration_time: 1595917409 }, 2],
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
  await assert.rejects(c.token(), (e) => e.retryAfter > 55 && e.retryAfter <= 60);
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
