"use strict";
// Sends a question to the server of this page and shows every branch as it is written. Model output is only ever set as textContent.

const byId = (id) => document.getElementById(id);
const PROTOCOL = JSON.parse(byId("protocol").textContent); // patterns and tags, from sprint_sgl/protocol
const TAGS = new RegExp(PROTOCOL.tag, "g");
const PROMPT = new RegExp(`${PROTOCOL.prompt}\\n?`, "g");
const HALF_TAG = /<[^<>\n]*$/;
const ESCAPED = new RegExp(PROTOCOL.escaped, "gi"); // a tag that the text only mentions
const ENDS = { stop: "Done", length: "Cut off by a limit" };

const readable = (text) => text.replace(TAGS, "").replace(HALF_TAG, "").replace(ESCAPED, "<$1").trim();

let stages = new Map(); // number -> {plan, executions: Map(prompt -> text), DOM nodes}
let changed = new Set();
let running = null; // AbortController of the running question, or null

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
    closeCards();
    const section = element("section", "stage", byId("sections"));
    const heading = element("h3", "", section);
    heading.id = `stage${number}`;
    section.setAttribute("aria-labelledby", heading.id);
    const plan = element("div", "plan", section);
    stages.set(number, { plan: "", executions: new Map(), section, title: heading, planNode: plan, grid: element("div", "executions", section), cards: new Map() });
  }
  return stages.get(number);
}

function closeCards() {
  for (const card of document.querySelectorAll(".execution.open")) card.classList.remove("open");
}

function cardOf(stage, number, prompt) {
  if (!stage.cards.has(prompt)) {
    const card = element("div", "execution open", stage.grid);
    const heading = element("h4", "", card);
    const text = element("div", "text", card);
    text.tabIndex = 0;
    text.setAttribute("role", "region");
    text.setAttribute("aria-label", `Execution ${number}.${prompt}`);
    stage.cards.set(prompt, { card, heading, text });
  }
  return stage.cards.get(prompt);
}

function show() {
  for (const number of changed) {
    const stage = stageOf(number);
    const plan = stage.plan.split(PROTOCOL.answerOpening)[0].split(PROTOCOL.thoughtClose)[0];
    const staged = stage.executions.size || stage.plan.includes(PROTOCOL.planOpening);
    stage.title.textContent = staged ? `Stage ${number}` : "Thought";
    for (const [, , prompt, text] of plan.matchAll(PROMPT)) {
      cardOf(stage, number, Number(prompt)).heading.textContent = `${number}.${prompt} ${readable(text)}`;
    }
    stage.planNode.textContent = readable(plan.replace(PROMPT, ""));
    stage.planNode.hidden = !stage.planNode.textContent;
    stage.section.hidden = stage.planNode.hidden && !stage.cards.size;
    for (const [prompt, text] of stage.executions) {
      const card = cardOf(stage, number, prompt);
      card.text.textContent = readable(text);
    }
  }
  changed.clear();
}

function branch({ role, stage, prompt, text }) {
  const current = stageOf(stage);
  if (role === "planner") current.plan += text;
  else current.executions.set(prompt, (current.executions.get(prompt) ?? "") + text);
  if (!changed.size) requestAnimationFrame(show);
  changed.add(stage);
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
  if (content) byId("answer").textContent += content;
  const reason = chunk.choices?.[0]?.finish_reason;
  if (reason) byId("status").textContent = ENDS[reason];
  if (chunk.sprint?.role) branch(chunk.sprint);
  else if (chunk.sprint) figures(chunk.sprint);
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

function clear() {
  stages = new Map();
  changed.clear();
  for (const id of ["sections", "facts", "answer"]) byId(id).replaceChildren();
  byId("error").hidden = true;
  byId("run").hidden = false;
}

function showError(error) {
  byId("error").textContent = error.message;
  byId("error").hidden = false;
}

async function ask() {
  clear();
  running = new AbortController();
  byId("ask").disabled = true;
  byId("stop").disabled = false;
  byId("status").textContent = "Running";
  const sprint = byId("stages").value ? { max_stages: Number(byId("stages").value) } : {};
  const request = { model: byId("model").value || null, messages: [{ role: "user", content: byId("question").value }], stream: true, sprint };
  if (byId("temperature").value) request.temperature = Number(byId("temperature").value);
  try {
    const response = await fetch("v1/chat/completions", { method: "POST", headers: headers(), body: JSON.stringify(request), signal: running.signal });
    if (!response.ok) throw await failure(response);
    await read(response.body);
  } catch (error) {
    const stopped = error.name === "AbortError";
    byId("status").textContent = stopped ? "Stopped" : "";
    if (!stopped) showError(error);
  } finally {
    show();
    closeCards();
    running = null;
    byId("ask").disabled = false;
    byId("stop").disabled = true;
  }
}

async function models() {
  try {
    const response = await fetch("v1/models", { headers: headers() });
    if (!response.ok) throw await failure(response);
    byId("model").replaceChildren(...(await response.json()).data.map(({ id }) => new Option(id)));
    byId("error").hidden = true;
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
byId("key").addEventListener("change", models);
models();
