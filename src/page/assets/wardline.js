// Asks for the parts of the page each second and replaces those that changed. Acknowledges alerts.
"use strict";

const EVERY_MS = 1000;
const SILENT_MS = 5000;
const shown = new Map();
let heard = Date.now();

const byId = (id) => document.getElementById(id);

function place(part) {
  let element = byId(part.id);
  if (!element) {
    element = document.createElement("section");
    element.id = part.id;
    byId("people").append(element);
  }
  if (shown.get(part.id) === part.class + part.html) return;
  shown.set(part.id, part.class + part.html);
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset : {};
  element.className = part.class;
  // The gateway's own HTML: every foreign text in it is escaped there.
  element.innerHTML = part.html;
  for (const kind of ["alert", "group"]) {
    if (focused[kind]) element.querySelector(`[data-${kind}="${CSS.escape(focused[kind])}"]`)?.focus();
  }
}

async function refresh() {
  try {
    const answer = await fetch("/live", { signal: AbortSignal.timeout(SILENT_MS) });
    if (!answer.ok) throw new Error(answer.statusText);
    (await answer.json()).forEach(place);
    heard = Date.now();
  } catch {
    // Said below, when it lasts.
  }
  const silent = Date.now() - heard > SILENT_MS;
  document.body.classList.toggle("silent", silent);
  const words = silent ? "No contact with the gateway: values are old" : "live";
  if (byId("live").textContent !== words) byId("live").textContent = words;
  setTimeout(refresh, EVERY_MS);
}

const dialog = byId("take");
let taking = null;

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-alert], button[data-group]");
  if (!button) return;
  const { alert, group } = button.dataset;
  taking = alert
    ? { path: `alerts/${encodeURIComponent(alert)}/acknowledge`, body: (by) => ({ by }) }
    : { path: `inbox/${encodeURIComponent(group)}`, body: (by) => ({ by, assignee: by }) };
  byId("take-title").textContent = alert ? "Take care of this alert" : "See to this";
  byId("take-who").textContent = button.dataset.who;
  byId("take-what").textContent = button.dataset.what;
  byId("take-problem").textContent = "";
  dialog.showModal();
  byId("take-by").focus();
});

byId("take-cancel").addEventListener("click", () => dialog.close());

dialog.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = byId("take-problem");
  try {
    const answer = await fetch(`/api/v1/${taking.path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Wardline": "page" },
      body: JSON.stringify(taking.body(byId("take-by").value)),
    });
    if (answer.ok) return dialog.close();
    const why = await answer.json();
    problem.textContent = `${why.cause}. ${why.remedy} (${why.code})`;
  } catch {
    problem.textContent = "The gateway did not answer. It is not taken yet: please try again.";
  }
});

setTimeout(refresh, EVERY_MS);
