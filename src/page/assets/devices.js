// The technician's view: shows the parts each second, and gives orders with the word that a key was exchanged for.
"use strict";

const EVERY_MS = 1000;
const SILENT_MS = 5000;
const LOOK_MS = 500;
const WORD = "wardline-technician";
const shown = new Map();
let heard = Date.now();
let device = null;
let looking = null;

const byId = (id) => document.getElementById(id);
const word = () => sessionStorage.getItem(WORD);

async function order(path, body) {
  const headers = { "X-Wardline": "page" };
  if (word()) headers["X-Wardline-Technician"] = word();
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(`/api/v1/${path}`, {
      method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(SILENT_MS + 2000),
    });
  } catch {
    throw new Error("The gateway did not answer. Please try again.");
  }
  const said = await answer.json();
  if (answer.ok) return said;
  if (answer.status === 403) lock();
  throw new Error(answer.status === 403 ? "Your hour is over: open a new link." : `${said.cause}. ${said.remedy} (${said.code})`);
}

function lock() {
  sessionStorage.removeItem(WORD);
  document.body.classList.remove("technician");
}

// A key stands after the mark, which a browser sends to nobody. It leaves the address bar at once.
async function unlock() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  history.replaceState(null, "", "/devices");
  if (key) {
    try {
      sessionStorage.setItem(WORD, (await order("page/open", { key })).word);
    } catch {
      byId("said").textContent = "This link was used already, or is older than ten minutes: ask for a new one.";
    }
  }
  document.body.classList.toggle("technician", Boolean(word()));
}

function place(part) {
  const element = byId(part.id);
  if (!element || shown.get(part.id) === part.class + part.html) return;
  shown.set(part.id, part.class + part.html);
  const { do: what, device: which } = element.contains(document.activeElement) ? document.activeElement.dataset : {};
  element.className = part.class;
  // The gateway's own HTML: every foreign text in it is escaped there.
  element.innerHTML = part.html;
  if (what) element.querySelector(`[data-do="${what}"][data-device="${CSS.escape(which)}"]`)?.focus();
}

async function refresh() {
  try {
    const answer = await fetch("/devices/live", { signal: AbortSignal.timeout(SILENT_MS) });
    if (!answer.ok) throw new Error(answer.statusText);
    (await answer.json()).forEach(place);
    heard = Date.now();
  } catch {
    // Said below, when it lasts.
  }
  const silent = Date.now() - heard > SILENT_MS;
  document.body.classList.toggle("silent", silent);
  const words = silent ? "No contact with the gateway" : "live";
  if (byId("live").textContent !== words) byId("live").textContent = words;
  setTimeout(refresh, EVERY_MS);
}

const problem = (dialog, text) => { dialog.querySelector(".problem").textContent = text; };

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (button) {
    device = button.dataset.device;
    const dialog = byId(button.dataset.do);
    const title = button.closest(".device").querySelector("h3").textContent;
    dialog.querySelector(".which").textContent = title === device ? device : `${title} · ${device}`;
    problem(dialog, "");
    if (dialog.id === "pair") return begin(dialog);
    dialog.showModal();
  }
  if (event.target.closest("dialog .close")) event.target.closest("dialog").close();
});

// Its zone stays as it is.
async function given() {
  const known = (await order("devices")).find((d) => d.id.toLowerCase() === device.toLowerCase());
  const since = byId("give-since").value === "ever" ? new Date(0) : new Date();
  return {
    id: known ? known.id : device, patient: byId("give-to").value, since: since.toISOString(), time_zone: known?.time_zone ?? null,
  };
}

for (const [id, path, body] of [
  ["give", () => `devices?by=${encodeURIComponent(byId("give-by").value)}`, given],
  ["forget", () => "bluetooth/forget", () => ({ device })],
]) {
  byId(id).querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await order(path(), await body());
      byId(id).close();
    } catch (e) {
      problem(byId(id), e.message);
    }
  });
}

// Pairing: what is asked now decides what is shown.
const pair = byId("pair");
const STAGES = {
  waiting: "Bring the device into its pairing mode. It is waited for for two minutes.",
  talking: "It is there.",
  enter: "Type the digits that the device shows.",
  show: "Type these digits into the device:",
  compare: "Does the device show these digits?",
  paired: "Paired.",
  closed: "The pairing window is closed.",
};

function stage(now) {
  const what = now ? now.stage : "closed";
  byId("pair-stage").textContent = what === "failed" ? `Not paired: ${now.why || "it did not work"}.` : STAGES[what] || what;
  byId("pair-digits").textContent = ["show", "compare"].includes(what) ? now.passkey : "";
  byId("pair-key").hidden = byId("pair-label").hidden = what !== "enter";
  byId("pair-yes").hidden = !["enter", "compare"].includes(what);
  byId("pair-yes").textContent = what === "compare" ? "They are the same" : "Send";
  byId("pair-no").hidden = what !== "compare";
  pair.querySelector(".close").textContent = ["paired", "failed", "closed"].includes(what) ? "Close" : "Cancel";
  pair.dataset.stage = what;
  const steps = now?.steps || [];
  if (byId("pair-steps").childElementCount !== steps.length) {
    byId("pair-steps").replaceChildren(...steps.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  }
  return ["paired", "failed", "closed"].includes(what);
}

async function begin(dialog) {
  byId("pair-key").value = "";
  stage({ stage: "waiting" });
  dialog.showModal();
  try {
    await order("bluetooth/pairing", { device });
    look();
  } catch (e) {
    stage(null);
    problem(dialog, e.message);
  }
}

async function look() {
  if (!pair.open) return;
  try {
    const now = await order("bluetooth/pairing");
    if (stage(now && now.device.toLowerCase() === device.toLowerCase() ? now : null)) return;
  } catch (e) {
    problem(pair, e.message);
  }
  looking = setTimeout(look, LOOK_MS);
}

async function reply(body) {
  try {
    await order("bluetooth/pairing/reply", body);
    problem(pair, "");
  } catch (e) {
    problem(pair, e.message);
  }
}

pair.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (pair.dataset.stage === "compare") return reply({ same: true });
  const digits = byId("pair-key").value;
  if (/^[0-9]{6}$/.test(digits)) reply({ passkey: Number(digits) });
  else problem(pair, "Six digits are needed.");
});
byId("pair-no").addEventListener("click", () => reply({ same: false }));
pair.addEventListener("close", () => {
  clearTimeout(looking);
  if (!["paired", "failed", "closed"].includes(pair.dataset.stage)) order("bluetooth/pairing/cancel", {}).catch(() => {});
});

unlock();
setTimeout(refresh, EVERY_MS);
