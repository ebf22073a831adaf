// Draws a run from its stream of events; texts reach the page as text alone.
"use strict";

const SMOOTHING = 0.8;
const POINTS = 400; // most points of a line that are drawn
const NOTES = 200;
const COLOURS = 8;
const PHASES = {
  evaluate: "evaluating",
  select: "choosing each task's adapter, fitting the router",
};

// What the events of a run add up to: series by adapter and task, the last step, and lines of text.
class Run {
  constructor() {
    this.events = [];
    this.clear();
  }

  clear() {
    this.step = null;
    this.seconds = 0;
    this.tokens = 0;
    this.counted = 0;
    this.series = new Map(); // adapter -> task -> [[step, smoothed loss]]
    this.lines = [];
  }

  // An entry replaces whatever was received from its number on: a resumed run goes back to its checkpoint.
  take(entry) {
    if (entry.number < this.events.length) {
      this.events.length = entry.number;
      this.clear();
      this.events.forEach((event) => this.count(event));
    }
    this.events.push(entry.event);
    this.count(entry.event);
  }

  count(event) {
    if (event.kind !== "step") {
      const line = sentence(event);
      if (line) this.lines.push(line);
      return;
    }
    this.step = event;
    this.seconds += event.seconds;
    this.tokens += event.tokens;
    this.counted += 1;
    for (const [adapter, of] of Object.entries(event.adapters)) {
      if (!this.series.has(adapter)) this.series.set(adapter, new Map());
      const tasks = this.series.get(adapter);
      for (const [task, loss] of Object.entries(of.tasks)) {
        if (loss === null) continue;
        if (!tasks.has(task)) tasks.set(task, []);
        const points = tasks.get(task);
        const before = points.length ? points[points.length - 1][1] : loss;
        points.push([event.step, SMOOTHING * before + (1 - SMOOTHING) * loss]);
      }
    }
  }

  // task -> its points in the first adapter that learns it, those in an adapter of its own, its share now
  rows() {
    const rows = new Map();
    for (const [adapter, tasks] of this.series) {
      const now = this.step.adapters[adapter];
      for (const [task, points] of tasks) {
        if (!rows.has(task)) rows.set(task, { points, alone: null, share: now ? now.shares[task] : undefined });
        else if (tasks.size === 1) rows.get(task).alone = points;
      }
    }
    return rows;
  }

  headline(state) {
    if (!this.step) return "no step yet";
    const { step, steps } = this.step;
    const speed = Math.round(this.tokens / Math.max(this.seconds, 1e-9));
    const left = (this.seconds / this.counted) * (steps - step);
    const rest = state === "running" && step < steps ? `, ${duration(left)} left` : "";
    return `step ${step}/${steps} (${Math.round((100 * step) / steps)}%), ${speed.toLocaleString("en")} tokens/s${rest}`;
  }
}

function sentence(event) {
  switch (event.kind) {
    case "phase":
      return `${PHASES[event.name] || event.name} …`;
    case "note":
      return `note: ${event.text}`;
    case "frozen":
      return `step ${event.step}: ${event.adapter} draws ${event.task} no more; it overfits`;
    case "evaluated":
      return `evaluated ${event.task} with ${event.adapter}: ${event.metric} ${number(event.score)}`;
    case "validation": {
      const shown = Object.entries(event.tasks).map(([task, of]) => `${task} ${number(of.loss)}`);
      return `step ${event.step}: validation of ${event.adapter}: ${shown.join(", ")}`;
    }
    default:
      return "";
  }
}

function number(value) {
  return typeof value === "number" ? value.toFixed(3) : "–";
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function thinned(points) {
  const every = Math.ceil(points.length / POINTS);
  return points.filter((_, place) => place % every === 0 || place === points.length - 1);
}

function drawn(name, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function drawChart(run) {
  const chart = document.getElementById("chart");
  const rows = [...run.rows().values()];
  const losses = rows.flatMap((row) => [...row.points, ...(row.alone || [])]).map((point) => point[1]);
  const top = Math.max(...losses, 1e-9) * 1.05;
  const x = (step) => (50 + (740 * step) / run.step.steps).toFixed(1);
  const y = (loss) => (270 - (260 * loss) / top).toFixed(1);
  const nodes = [];
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    const at = y(part * top);
    nodes.push(drawn("line", { class: "grid", x1: 50, x2: 790, y1: at, y2: at }));
    nodes.push(drawn("text", { class: "axis", x: 44, y: at, "text-anchor": "end" }, (part * top).toFixed(2)));
  }
  nodes.push(drawn("text", { class: "axis", x: 50, y: 290 }, "0"));
  nodes.push(drawn("text", { class: "axis", x: 790, y: 290, "text-anchor": "end" }, `step ${run.step.steps}`));
  rows.forEach((row, place) => {
    const line = (points, kind) => {
      const at = thinned(points).map(([step, loss]) => `${x(step)},${y(loss)}`);
      nodes.push(drawn("polyline", { class: `c${place % COLOURS} ${kind}`, points: at.join(" ") }));
    };
    line(row.points, "first");
    if (row.alone) line(row.alone, "alone");
  });
  chart.replaceChildren(...nodes);
}

function drawTasks(run) {
  const last = (points) => (points && points.length ? number(points[points.length - 1][1]) : "");
  const rows = [...run.rows()].map(([task, row], place) => {
    const line = document.createElement("tr");
    const share = typeof row.share === "number" ? `${Math.round(100 * row.share)}%` : "";
    [task, last(row.points), last(row.alone), share].forEach((text, column) => {
      const cell = document.createElement("td");
      if (column === 0) {
        const key = drawn("svg", { viewBox: "0 0 20 10", "aria-hidden": "true" });
        key.append(drawn("line", { class: `c${place % COLOURS}`, x1: 0, x2: 20, y1: 5, y2: 5, "stroke-width": 4 }));
        cell.append(key);
      }
      cell.append(text);
      line.append(cell);
    });
    return line;
  });
  document.getElementById("tasks").replaceChildren(...rows);
}

function drawNotes(run) {
  const lines = run.lines.slice(-NOTES).reverse();
  const items = lines.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  });
  const list = document.getElementById("notes");
  list.start = run.lines.length;
  list.replaceChildren(...items);
}

function show() {
  const run = new Run();
  const state = document.getElementById("state");
  let now = "";
  let asked = false;
  const draw = () => {
    asked = false;
    document.getElementById("headline").textContent = run.headline(now);
    drawNotes(run);
    if (!run.step) return;
    const bar = document.getElementById("bar");
    bar.max = run.step.steps;
    bar.value = run.step.step;
    drawChart(run);
    drawTasks(run);
  };
  const later = () => {
    if (!asked) requestAnimationFrame(draw);
    asked = true;
  };
  const stream = new EventSource("events"); // comes back by itself, and says which line it had last
  stream.onmessage = (message) => {
    run.take(JSON.parse(message.data));
    later();
  };
  stream.addEventListener("state", (message) => {
    const news = JSON.parse(message.data);
    now = news.state;
    state.textContent = news.state;
    document.getElementById("report").hidden = !(news.report && news.state === "finished");
    later();
  });
  stream.onerror = () => {
    state.textContent = `${now || "no connection"}; the server does not answer, trying again …`;
  };
  stream.onopen = () => {
    state.textContent = now || "connected";
  };
}

if (typeof document !== "undefined") show();
else module.exports = { Run };
