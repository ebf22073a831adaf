// Asks the server that it came from; texts reach the page as text alone.
"use strict";

const PAUSE = 2000; // milliseconds between looks at the load
const PROPOSALS_PAUSE = 30000; // milliseconds between looks at proposals, which cost the server more
const WHY = {
  routed: "routed",
  named: "named by the request",
  conversation: "as earlier in the conversation",
  unsure: "unsure among tasks: the shared adapter",
  "out-of-distribution": "out of distribution: the base",
  "router-unavailable": "no router",
};
const find = (id) => document.getElementById(id);
let key = sessionStorage.getItem("multitune-key") || "";
let asked = ""; // the id of the answer that feedback is about
let proposalsDue = 0; // on the page's clock
let looking = 0; // the number of the latest look, so that an older one draws nothing

class Refused extends Error {}

async function call(path, body) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const options = { headers, cache: "no-store" };
  if (body) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  const answer = await fetch(path, options);
  const found = await answer.json();
  if (answer.status === 401) throw new Refused("this server asks for its key");
  if (!answer.ok) throw new Error(found.error ? found.error.message : `status ${answer.status}`);
  return found;
}

function element(name, text, attributes = {}) {
  const node = document.createElement(name);
  if (text !== undefined && text !== null) node.textContent = text;
  for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, value);
  return node;
}

function row(cells, digits = 0) {
  const line = document.createElement("tr");
  cells.forEach((cell, place) => {
    const number = typeof cell === "number";
    const text = number ? cell.toFixed(digits) : cell;
    const node = element(place ? "td" : "th", text === null || text === undefined ? "–" : String(text));
    if (number || (place > 2 && cell === null)) node.className = "number";
    if (!place) node.scope = "row";
    line.append(node);
  });
  return line;
}

function drawn(table, rows) {
  find(table).tBodies[0].replaceChildren(...rows);
}

function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

async function look() {
  const number = ++looking;
  try {
    const [overview, learning] = await Promise.all([call("overview"), call("v1/routing")]);
    if (number !== looking) return;
    find("key").hidden = true;
    find("name").textContent = overview.run;
    find("state").textContent = `routing ${learning.routing || "by name alone"}, learned version ${learning.version}`;
    drawLoad(overview);
    drawTasks(overview, learning);
    await drawLearning(learning);
  } catch (error) {
    find("state").textContent = error.message;
    if (error instanceof Refused) find("key").hidden = false;
  }
}

function drawLoad(overview) {
  const minute = overview.routes.reduce((sum, route) => sum + route.last_minute, 0);
  find("load").textContent = `${minute} requests in the last minute; ${overview.running} running, ${overview.waiting} waiting`;
  drawn("routes", overview.routes.map((route) => row([route.adapter, WHY[route.reason] || route.reason, route.last_minute, route.requests])));
}

function drawTasks(overview, learning) {
  const scored = (task) => [task.metric, task.shipped, task.shared, task.base];
  const drift = (task) => (task.task in learning.drift ? learning.drift[task.task] : null);
  drawn("tasks", overview.tasks.map((task) => row([task.task, task.adapter, ...scored(task), drift(task)], 3)));
  const names = [...overview.tasks.map((task) => task.task), "base"];
  const select = find("task");
  if ([...select.options].map((option) => option.value).join() !== names.join()) {
    select.replaceChildren(...names.map((name) => element("option", name === "base" ? "none of them" : name, { value: name })));
  }
  find("answers").dataset.shared = overview.shared || "";
}

async function drawLearning(learning) {
  const text = find("learning");
  find("feedback").hidden = learning.mode === "bypass";
  if (learning.mode === "bypass") {
    text.textContent = "Nothing is kept. multitune serve RUN --learning observe keeps feedback and shows what it would change.";
    return;
  }
  const shadow = learning.shadow;
  const parts = [`${learning.mode}: ${learning.feedback} rows of feedback on ${learning.requests} requests`];
  if (shadow) {
    const right = shadow.agreement === null ? "" : `, agrees with ${percent(shadow.agreement)} of the feedback held back (live: ${percent(shadow.live_agreement)})`;
    const floors = shadow.below_floor.length ? `below the floor on ${shadow.below_floor.join(", ")}` : "every route keeps its floor";
    parts.push(`the shadow learned from ${shadow.feedback}${right}; ${floors}`);
  }
  if (learning.fault) parts.push(learning.fault);
  text.textContent = `${parts.join(". ")}.`;
  if (performance.now() < proposalsDue) return;
  proposalsDue = performance.now() + PROPOSALS_PAUSE;
  const { proposals } = await call("v1/routing/proposals");
  find("proposals").replaceChildren(
    ...proposals.map((one) => element("li", `${one.requests} requests look alike and fit no task${one.texts.length ? `: “${one.texts[0].slice(0, 160)}”` : ""}`))
  );
}

function showRoute({ route, probabilities }) {
  const sure = route.probability === null ? "" : `, probability ${percent(route.probability)}`;
  find("decision").textContent = `To ${route.adapter} (${WHY[route.reason] || route.reason}${sure})`;
  const sorted = Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
  drawn("probabilities", sorted.map(([task, value]) => {
    const line = row([task, percent(value)]);
    const cell = document.createElement("td");
    cell.append(element("meter", percent(value), { min: 0, max: 1, value, "aria-label": `probability of ${task}` }));
    line.append(cell);
    return line;
  }));
}

async function answered(title, model, prompt) {
  const box = document.createElement("div");
  const text = element("p", "…", { class: "text" });
  box.append(element("h3", title), text);
  find("answers").append(box);
  try {
    const longest = Number(find("longest").value) || 64;
    const found = await call("v1/chat/completions", { model, messages: [{ role: "user", content: prompt }], max_tokens: longest });
    text.textContent = found.choices[0].message.content || "(no text)";
    return found;
  } catch (error) {
    text.textContent = error.message;
    return null;
  }
}

async function ask(event) {
  event.preventDefault();
  const prompt = find("prompt").value;
  const button = find("ask").querySelector("button");
  button.disabled = true;
  find("found").hidden = false;
  find("thanks").textContent = "";
  find("answers").replaceChildren();
  asked = "";
  try {
    showRoute(await call("v1/route", { text: prompt }));
    const shared = find("answers").dataset.shared;
    const others = [["base", "base"], ...(shared ? [[shared, `adapter:${shared}`]] : [])].reverse();
    const all = [answered("routed", "auto", prompt), ...others.map(([title, model]) => answered(title, model, prompt))];
    const found = await all[0];
    if (found) {
      asked = found.id;
      find("task").value = found.multitune.task || "base";
    }
    await Promise.all(all);
  } catch (error) {
    find("decision").textContent = error.message;
  }
  button.disabled = false;
  look();
}

async function say(what) {
  const thanks = find("thanks");
  try {
    if (!asked) throw new Error("no answer yet that this could be about");
    await call("v1/feedback", { request_id: asked, ...what });
    thanks.textContent = "kept, thank you";
  } catch (error) {
    thanks.textContent = error.message;
  }
  look();
}

find("ask").addEventListener("submit", ask);
find("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("ask").requestSubmit();
});
find("feedback").addEventListener("submit", (event) => {
  event.preventDefault();
  say({ task: find("task").value });
});
for (const button of document.querySelectorAll("[data-correct]")) {
  button.addEventListener("click", () => say({ correct: button.dataset.correct === "true" }));
}
find("key").addEventListener("submit", (event) => {
  event.preventDefault();
  key = find("secret").value;
  sessionStorage.setItem("multitune-key", key);
  look();
});
look();
setInterval(() => {
  if (!document.hidden && find("key").hidden) look();
}, PAUSE);
