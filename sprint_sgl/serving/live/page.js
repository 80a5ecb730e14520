"use strict";
// Sends a question to the server of this page and shows every branch as it is written, as textContent. At its end the
// server draws the whole run (POST /view), which takes the place of what was written live.

const byId = (id) => document.getElementById(id);
const PROTOCOL = JSON.parse(byId("protocol").textContent); // patterns and tags, from sprint_sgl/protocol
const TAGS = new RegExp(PROTOCOL.tag, "g");
const PROMPT = new RegExp(`${PROTOCOL.prompt}\\n?`, "g");
const HALF_TAG = /<[^<>\n]*$/;
const ESCAPED = new RegExp(PROTOCOL.escaped, "gi"); // a tag that the text only mentions
const ENDS = { stop: "Done", length: "Cut off by a limit" };
const EXAMPLES = {
  countdown: ["Use 15, 3 and 62 to make 80", "Use 25, 2 and 21 to make 17", "Use 4, 27 and 43 to make 20"],
  other: ["How many integers from 1 to 100 are divisible by 4 or by 6?", "What is the last digit of 3^20 + 7^13?"],
};
const SVG = "http://www.w3.org/2000/svg";
const LANE = 26; // height of a row of the growing timeline

const readable = (text) => text.replace(TAGS, "").replace(HALF_TAG, "").replace(ESCAPED, "<$1").trim();

let stages = new Map(); // number -> {plan, executions: Map(prompt -> text), DOM nodes}
let changed = new Set();
let running = null; // AbortController of the running question, or null
let models = []; // of the server, with what it says of each
let runs = []; // [{method, trajectory}] of the question, as POST /view takes them
let began = 0;
let pieces = 0;
let bars = new Map(); // "stage.prompt" -> {stage, lane, start, end}, in seconds
let ticking = null;

function headers() {
  const key = byId("key").value;
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function failure(response) {
  byId("keyfield").hidden = response.status !== 401 && !byId("key").value;
  try {
    return new Error((await response.json()).error.message);
  } catch {
    return new Error(`the server answered with status ${response.status}`);
  }
}

function element(name, className, parent) {
  const node = document.createElement(name);
  node.className = className;
  parent.append(node);
  return node;
}

function stageOf(number) {
  if (!stages.has(number)) {
    const section = element("section", `stage s${number % 4}`, byId("sections"));
    const heading = element("h3", "", section);
    heading.id = `stage${number}`;
    section.setAttribute("aria-labelledby", heading.id);
    const plan = element("div", "plan", section);
    stages.set(number, { plan: "", executions: new Map(), ended: new Set(), section, title: heading, planNode: plan, grid: element("div", "executions", section), cards: new Map() });
  }
  return stages.get(number);
}

const unended = () => document.querySelectorAll(".execution.asked, .execution.open");

// Marks an executor as running, once its prompt is closed.
function startCard(stage, prompt) {
  const { card, state } = stage.cards.get(prompt);
  if (card.classList.replace("asked", "open")) state.textContent = "running";
}

function closeCards(word) {
  for (const card of unended()) closeCard(card, word);
}

// When the next plan begins, all executors of the one before have ended; who has not said so was stopped.
function closeEnded() {
  show();
  for (const card of unended()) {
    const wrote = card.querySelector(".text").textContent;
    card.classList.add("truncated");
    closeCard(card, wrote ? "cut off" : "failed");
  }
}

function closeCard(card, word) {
  card.classList.remove("asked", "open");
  card.querySelector(".state").textContent = word;
}

function cardOf(stage, number, prompt) {
  if (!stage.cards.has(prompt)) {
    const card = element("div", "execution asked", stage.grid);
    const heading = element("h4", "", card);
    const text = element("div", "text", card);
    text.tabIndex = 0;
    text.setAttribute("role", "region");
    text.setAttribute("aria-label", `Execution ${number}.${prompt}`);
    const state = element("p", "state", card);
    state.textContent = "being written";
    stage.cards.set(prompt, { card, heading, text, state });
  }
  return stage.cards.get(prompt);
}

function show() {
  for (const number of changed) {
    const stage = stageOf(number);
    const plan = stage.plan.split(PROTOCOL.answerOpening)[0].split(PROTOCOL.thoughtClose)[0];
    const staged = stage.executions.size || stage.plan.includes(PROTOCOL.planOpening);
    stage.title.textContent = staged ? `Stage ${number}` : "Thought";
    for (const [whole, , prompt, text] of plan.matchAll(PROMPT)) {
      cardOf(stage, number, Number(prompt)).heading.textContent = `${number}.${prompt} ${readable(text)}`;
      if (whole.includes(PROTOCOL.promptClosing)) startCard(stage, Number(prompt));
    }
    stage.planNode.textContent = readable(plan.replace(PROMPT, ""));
    stage.planNode.hidden = !stage.planNode.textContent;
    stage.section.hidden = stage.planNode.hidden && !stage.cards.size;
    for (const [prompt, text] of stage.executions) {
      const card = cardOf(stage, number, prompt);
      card.text.textContent = readable(text);
      startCard(stage, prompt);
      if (stage.ended.has(prompt)) closeCard(card.card, "done");
    }
  }
  changed.clear();
}

function branch({ role, stage, prompt, text }) {
  if (role === "planner" && !stages.has(stage)) closeEnded();
  const current = stageOf(stage);
  pieces += 1;
  const key = `${stage}.${prompt ?? 0}`;
  const now = (performance.now() - began) / 1000;
  if (!bars.has(key)) bars.set(key, { stage, lane: prompt ?? 0, start: now, end: now });
  bars.get(key).end = now;
  if (role === "planner") current.plan += text;
  else if (!text) current.ended.add(prompt);
  else current.executions.set(prompt, (current.executions.get(prompt) ?? "") + text);
  if (!changed.size) requestAnimationFrame(show);
  changed.add(stage);
}

function svgElement(name, attributes, parent) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent.append(node);
  return node;
}

// Round numbers from 0 to the end, at most seven.
function roundTicks(end) {
  const power = 10 ** Math.floor(Math.log10(end / 6));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((each) => end / each <= 6);
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, k) => Number((k * step).toPrecision(10)));
}

// Draws what the viewer draws in the end, without the critical path, which is not known yet.
function drawGrowing() {
  const all = [...bars.values()];
  const end = Math.max((performance.now() - began) / 1000, 0.1);
  const lanes = 1 + Math.max(0, ...all.map(({ lane }) => lane));
  const at = (seconds) => `${((100 * seconds) / end).toFixed(2)}%`;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "lanes");
  svg.setAttribute("height", LANE * lanes + 24);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "Who has written when so far");
  const label = (text, y) => {
    svgElement("text", { x: -8, y, "text-anchor": "end" }, svg).textContent = text;
  };
  for (let lane = 0; lane < lanes; lane += 1) {
    label(lane ? `executor ${lane}` : "planner", LANE * lane + 17);
    svgElement("line", { x1: 0, x2: "100%", y1: LANE * lane + 25, y2: LANE * lane + 25, class: "rule" }, svg);
  }
  for (const { stage, lane, start, end: until } of all) {
    svgElement("rect", { x: at(start), y: LANE * lane + 3, width: at(Math.max(until - start, 0.002 * end)), height: 19, class: `s${stage % 4}` }, svg);
  }
  for (const tick of roundTicks(end)) {
    const anchor = !tick ? "start" : tick < 0.97 * end ? "middle" : "end";
    svgElement("text", { x: at(tick), y: LANE * lanes + 18, "text-anchor": anchor }, svg).textContent = tick;
  }
  label("seconds", LANE * lanes + 18);
  byId("growing").replaceChildren(svg);
}

function tick() {
  byId("clock").textContent = `${((performance.now() - began) / 1000).toFixed(1)} s`;
  byId("counted").textContent = `about ${pieces.toLocaleString()} tokens`;
  const [open, asked] = ["open", "asked"].map((state) => document.querySelectorAll(`.execution.${state}`).length);
  const said = [open && `${open} executor${open > 1 ? "s" : ""} running`, asked && "a prompt is being written"];
  byId("branches").textContent = said.filter(Boolean).join(", ");
  drawGrowing();
}

function figures(sprint) {
  const facts = {
    "sequential tokens": sprint.sequential_tokens.toLocaleString(),
    "total tokens": sprint.total_tokens.toLocaleString(),
    stages: sprint.stages,
    "widest stage": sprint.width,
    seconds: sprint.seconds.toFixed(2),
    "cached prefix": `${Math.round(100 * sprint.cached_share)}%`,
  };
  for (const [name, value] of Object.entries(facts)) {
    const item = element("li", "", byId("facts"));
    element("b", "", item).textContent = value;
    element("span", "", item).textContent = name;
  }
}

function handleChunk(chunk) {
  if (chunk.error) throw new Error(chunk.error.message);
  const content = chunk.choices?.[0]?.delta?.content;
  if (content) {
    byId("answer").textContent += content;
    byId("answered").hidden = false;
  }
  const reason = chunk.choices?.[0]?.finish_reason;
  if (reason) byId("status").textContent = ENDS[reason];
  if (chunk.sprint?.role) branch(chunk.sprint);
  else if (chunk.sprint) {
    figures(chunk.sprint);
    if (chunk.sprint.trajectory) runs.push({ method: methodOf(byId("model").value), trajectory: chunk.sprint.trajectory });
  }
}

async function read(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  for (let rest = "", part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + decoder.decode(part.value, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ") && line !== "data: [DONE]") handleChunk(JSON.parse(line.slice(6)));
    }
  }
}

const methodOf = (model) => model.split(":").at(-1); // the program of a model id

function clear() {
  stages = new Map();
  bars = new Map();
  changed.clear();
  pieces = 0;
  began = performance.now();
  for (const id of ["sections", "facts", "answer", "growing", "result", "clock", "counted", "branches"]) byId(id).replaceChildren();
  for (const id of ["compare", "open", "save"]) byId(id).hidden = true;
  byId("error").hidden = true;
  byId("answered").hidden = true;
  byId("run").hidden = false;
}

function showError(error) {
  byId("error").textContent = error.message;
  byId("error").hidden = false;
}

async function drawnRuns() {
  const response = await fetch("view", { method: "POST", headers: headers(), body: JSON.stringify({ runs }) });
  if (!response.ok) throw await failure(response);
  return response.text();
}

// Shows the runs as the viewer draws them. Nothing of the parsed page runs: scripts of imported nodes are inert.
async function showResult() {
  const page = new DOMParser().parseFromString(await drawnRuns(), "text/html");
  byId("result").replaceChildren(...[...page.querySelectorAll("article")].map((article) => document.importNode(article, true)));
  byId("run").hidden = true;
  for (const id of ["open", "save"]) byId(id).hidden = false;
  byId("compare").hidden = runs.length > 1 || !sequentialModel();
}

const sequentialModel = () => models.find(({ id }) => id.endsWith(":sequential") && id !== byId("model").value)?.id;

async function stream(model, question) {
  const sprint = { trajectory: true, ...(byId("stages").value ? { max_stages: Number(byId("stages").value) } : {}) };
  const request = { model: model || null, messages: [{ role: "user", content: question }], stream: true, sprint };
  if (byId("temperature").value) request.temperature = Number(byId("temperature").value);
  const response = await fetch("v1/chat/completions", { method: "POST", headers: headers(), body: JSON.stringify(request), signal: running.signal });
  if (!response.ok) throw await failure(response);
  await read(response.body);
}

async function run(model, question) {
  clear();
  running = new AbortController();
  byId("ask").disabled = true;
  byId("stop").disabled = false;
  byId("status").textContent = "Running";
  ticking = setInterval(tick, 100);
  let ended = "stopped";
  try {
    await stream(model, question);
    ended = "done";
  } catch (error) {
    if (error.name !== "AbortError") ended = "failed";
    byId("status").textContent = error.name === "AbortError" ? "Stopped" : "";
    if (error.name !== "AbortError") showError(error);
  } finally {
    show();
    clearInterval(ticking);
    tick();
    closeCards(ended);
    const counted = byId("facts").childElementCount ? ["clock", "counted"] : []; // the figures say it exactly
    for (const id of ["branches", ...counted]) byId(id).replaceChildren();
    running = null;
    byId("ask").disabled = false;
    byId("stop").disabled = true;
  }
  if (ended === "done" && runs.length) await showResult().catch(showError);
}

function ask() {
  runs = [];
  return run(byId("model").value, byId("question").value);
}

function compare() {
  const [{ trajectory }] = runs;
  const before = byId("model").value;
  byId("model").value = sequentialModel();
  showMisfit(byId("model").value);
  return run(byId("model").value, trajectory.question).finally(() => {
    byId("model").value = before;
  });
}

async function openViewer() {
  const page = new Blob([await drawnRuns()], { type: "text/html" });
  window.open(URL.createObjectURL(page), "_blank", "noopener");
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(runs[0].trajectory, null, 2)], { type: "application/json" }));
  link.download = "trajectory.json";
  link.click();
}

// Says that a model was trained for another program than the one that asks it.
function showMisfit(id) {
  const unfit = models.find((model) => model.id === id)?.sprint?.unfit;
  byId("unfit").textContent = unfit ? `${unfit}.` : "";
}

function describeModel() {
  const said = models.find(({ id }) => id === byId("model").value)?.sprint ?? {};
  const parts = [said.scope && `This model knows ${said.scope}, and nothing else`, said.notation].filter(Boolean);
  byId("scope").textContent = parts.length ? `${parts.join("; ")}.` : "";
  byId("scope").hidden = !parts.length;
  showMisfit(byId("model").value);
  const found = EXAMPLES[/countdown/i.test(said.scope ?? "") ? "countdown" : "other"];
  byId("question").placeholder = found[0];
  byId("examples").replaceChildren(byId("examples").firstElementChild);
  for (const text of found) {
    const button = element("button", "", byId("examples"));
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", () => {
      byId("question").value = text;
      byId("question").focus();
    });
  }
  byId("examples").hidden = false;
}

async function loadModels() {
  try {
    const response = await fetch("v1/models", { headers: headers() });
    if (!response.ok) throw await failure(response);
    const offered = (await response.json()).data;
    models = offered.filter(({ id }) => !offered.some((other) => other.id.startsWith(`${id}:`))); // short names of one of these
    byId("model").replaceChildren(...models.map(({ id }) => new Option(id)));
    byId("error").hidden = true;
    describeModel();
  } catch (error) {
    showError(error);
  }
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) ask();
});
byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
});
byId("stop").addEventListener("click", () => running?.abort());
byId("key").addEventListener("change", loadModels);
byId("model").addEventListener("change", describeModel);
byId("compare").addEventListener("click", compare);
byId("open").addEventListener("click", () => openViewer().catch(showError));
byId("save").addEventListener("click", save);
if (matchMedia("(max-width: 40rem)").matches) byId("settings").open = false;
loadModels();
