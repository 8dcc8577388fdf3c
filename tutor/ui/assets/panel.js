// Draws the attention panel. It computes nothing of the model: weights, sentences and chances come
// from the server; here they become colours and bars. Text enters the page as textContent only.
const $ = (selector) => element.querySelector(selector);
const panel = $(".kk-panel");
const stream = $(".p-stream");
const canvas = $("canvas");
const cells = $(".p-cells");

const answers = new Map(); // number of the answer -> its recording as far as it has come
let current = 0; // number of the answer that is shown
let picked = null; // step that the person chose; null follows the newest
let locked = null; // "layer.head" that the person chose; null is the mean over all
let preview = null; // "layer.head" under the pointer or the focus
let pointed = null; // the piece under the pointer
let shown = null; // what is on the screen: {doc, step, row, seen}
let consumed = ""; // the part of the value that has been read

const TICKS = [0, 0.01, 0.05, 0.2, 0.5, 1];
// Where a weight stands on the colour scale: bent so that small weights can be told apart.
const shade = (weight) => weight ** 0.4;
const percent = (share) => (share * 100).toFixed(share >= 0.00995 ? 0 : 1) + " %";
const tied = (words) => words.replaceAll(" %", "\u00a0%");
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const headName = (head) => {
  const [layer, index] = head.split(".").map(Number);
  return `${layer + 1}층 ${index + 1}번 헤드`;
};
const doc = () => answers.get(current);

// ---- reading the lines -------------------------------------------------------------------------

function read(value) {
  if (!value) {
    answers.clear();
    current = 0;
    consumed = "";
    return;
  }
  const fresh = !value.startsWith(consumed) || !consumed;
  const text = fresh ? value : value.slice(consumed.length);
  consumed = value;
  let open = fresh ? null : [...answers.values()].pop();
  for (const line of text.split("\n")) {
    if (!line) continue;
    const item = JSON.parse(line);
    if (item.k === "lost") lost("이전 답들의 속은 남아 있지 않아요. 새로 물어보면 여기에 다시 나타나요.");
    else if (item.k === "open") {
      open = { ...item, tokens: [], chips: [], steps: [], rows: new Map(), views: new Map() };
      for (const number of [...answers.keys()]) if (number >= item.answer) answers.delete(number);
      answers.set(item.answer, open);
      current = item.answer;
      picked = null;
    } else if (item.k === "tok") {
      open.tokens[item.p] = item;
      if (open.chips[item.p]) label(open.chips[item.p], item);
    } else if (item.k === "step") open.steps[item.s] = item;
    else if (item.k === "close") open.closed = true;
  }
}

function lost(words) {
  $(".p-empty-words").textContent = words;
}

// ---- asking the server -------------------------------------------------------------------------

async function ask(path) {
  let words = "서버와 연결이 끊겼어요. 잠시 뒤에 다시 눌러 보세요.";
  try {
    const response = await fetch(kkoma.url(path));
    if (response.ok) return response;
    words = (await response.json()).error;
  } catch {
    // No connection, or not our server: the words above.
  }
  throw new Error(words);
}

function remember(map, key, promise) {
  if (!map.has(key)) {
    map.set(key, promise());
    map.get(key).catch(() => map.delete(key));
  }
  return map.get(key);
}

const fetchRow = (of, step) =>
  remember(of.rows, step, async () =>
    new Uint8Array(await (await ask(`tutor/attention/${of.id}/${step}`)).arrayBuffer()),
  );
const fetchView = (of, step, head) =>
  remember(of.views, `${step}/${head ?? ""}`, async () =>
    (await ask(`tutor/attention/${of.id}/${step}/view${head ? `?heads=${head}` : ""}`)).json(),
  );

// One refresh at a time; whatever changes meanwhile is caught up with at its end.
let refreshing = false;
let stale = false;
async function refresh() {
  stale = true;
  if (refreshing) return;
  refreshing = true;
  while (stale) {
    stale = false;
    const of = doc();
    if (!of || !of.steps.length) continue;
    const step = picked ?? of.steps.length - 1;
    const head = preview ?? locked;
    try {
      const [row, seen] = await Promise.all([fetchRow(of, step), fetchView(of, step, head)]);
      if (doc() === of) paint({ doc: of, step, head, row, seen });
    } catch (error) {
      if (doc() === of) failed(of, step, error.message);
    }
  }
  refreshing = false;
}

// ---- drawing -----------------------------------------------------------------------------------

function label(chip, token) {
  chip.textContent = token.text;
  // A word begins here, so the piece before it ends one.
  chip.previousElementSibling?.classList.toggle("p-ends", token.space);
}

function chip(of, token) {
  const step = token.p - (of.tokens.length - of.steps.length);
  const made = step >= 0;
  const node = make(made ? "button" : "span", "p-chip");
  if (made) {
    node.type = "button";
    node.tabIndex = -1;
    node.dataset.step = step;
    node.setAttribute("aria-pressed", "false");
  }
  node.dataset.position = token.p;
  node.classList.toggle("p-special", token.special);
  return node;
}

const ROLES = { system: "안내", user: "질문", assistant: "답" };

function drawStream(of) {
  if (stream.shows !== of) {
    stream.replaceChildren();
    stream.shows = of;
    of.chips = [];
    shown = null;
  }
  for (const token of of.tokens.slice(of.chips.length)) {
    let turn = stream.lastElementChild;
    if (!turn || Number(turn.dataset.turn) !== token.turn) {
      turn = make("div", `p-turn p-${token.role}`);
      turn.dataset.turn = token.turn;
      turn.append(make("span", "p-role", ROLES[token.role]), make("span", "p-pieces"));
      stream.append(turn);
    }
    const node = chip(of, token);
    of.chips.push(node);
    turn.lastElementChild.append(node);
    label(node, token);
  }
}

function drawBest(step) {
  const list = $(".p-list");
  while (list.children.length < step.best.length) {
    const item = make("li");
    const bar = make("span", "bar");
    bar.append(make("i"));
    item.append(make("span", "name"), bar, make("span", "share"), make("span", "mark"));
    list.append(item);
  }
  step.best.forEach(([name, share, words, chosen], index) => {
    const item = list.children[index];
    const [text, bar, number, mark] = item.children;
    text.textContent = name;
    bar.firstElementChild.style.width = `${share * 100}%`;
    number.textContent = words;
    mark.textContent = chosen ? "고름" : "";
    item.classList.toggle("chosen", chosen);
  });
}

function weigh(of, weights) {
  of.chips.forEach((node, position) => {
    const weight = weights[position];
    if (weight === undefined) {
      node.style.removeProperty("--w");
      delete node.dataset.weight;
      node.classList.add("p-later");
    } else {
      node.style.setProperty("--w", shade(weight).toFixed(4));
      node.dataset.weight = weight;
      node.classList.remove("p-later");
    }
  });
  readOut();
}

function paint(next) {
  const { doc: of, step, head, row, seen } = next;
  const changed = !shown || shown.doc !== of || shown.step !== step;
  shown = next;
  drawStream(of);
  const position = of.tokens.length - of.steps.length + step;
  weigh(of, seen.weights);
  const selected = of.chips[position];
  for (const node of stream.querySelectorAll("button.p-chip")) {
    const on = node === selected;
    node.setAttribute("aria-pressed", String(on));
    node.tabIndex = on ? 0 : -1;
  }
  selected.classList.remove("p-later");
  if (changed) keepInSight(selected);
  $(".p-sentence").setAttribute("aria-live", of.closed || picked !== null ? "polite" : "off");
  $(".p-sentence").textContent = tied(seen.sentence);
  const before = of.tokens[position - 1].text;
  $(".p-whose").textContent =
    `${head ? headName(head) : "모든 헤드 평균"} · ‘${of.tokens[position].text}’ 조각을 고르기 직전 자리(‘${before}’)가 본 곳`;
  drawBest(of.steps[step]);
  $(".p-drawn").textContent = of.drawn;
  drawHeads(of, row);
  $(".p-mean").setAttribute("aria-pressed", String(!locked));
}

function failed(of, step, words) {
  drawStream(of);
  weigh(of, []);
  const position = of.tokens.length - of.steps.length + step;
  for (const node of stream.querySelectorAll("button.p-chip")) {
    const on = node === of.chips[position];
    node.setAttribute("aria-pressed", String(on));
    node.tabIndex = on ? 0 : -1;
  }
  $(".p-sentence").textContent = words;
  $(".p-whose").textContent = "";
  drawBest(of.steps[step]);
}

// Scroll the stream's own box, never the page.
function keepInSight(node) {
  const outer = stream.getBoundingClientRect();
  const inner = node.getBoundingClientRect();
  const margin = 34;
  if (inner.top < outer.top + margin) stream.scrollTop -= outer.top + margin - inner.top;
  else if (inner.bottom > outer.bottom - margin) stream.scrollTop += inner.bottom - outer.bottom + margin;
}

function buildHeads(of) {
  const shape = `${of.layers}x${of.heads}`;
  if (cells.dataset.shape === shape) return;
  cells.dataset.shape = shape;
  cells.style.gridTemplateColumns = `repeat(${of.heads}, 1fr)`;
  cells.style.gridTemplateRows = `repeat(${of.layers}, 1fr)`;
  $(".p-map").style.setProperty("--layers", of.layers);
  $(".p-rows").style.setProperty("--layers", of.layers);
  $(".p-rows").replaceChildren();
  cells.replaceChildren();
  for (let layer = 0; layer < of.layers; layer++) {
    $(".p-rows").append(make("span", "", `${layer + 1}층`));
    for (let index = 0; index < of.heads; index++) {
      const cell = make("button", "p-cell");
      cell.type = "button";
      cell.dataset.head = `${layer}.${index}`;
      cell.tabIndex = layer + index ? -1 : 0;
      cell.title = headName(cell.dataset.head);
      cell.setAttribute("aria-label", cell.title);
      cell.setAttribute("aria-pressed", "false");
      cells.append(cell);
    }
  }
}

// Small multiples on one canvas: bars over the positions, as high as the root of the weight.
function drawHeads(of, row) {
  buildHeads(of);
  for (const cell of cells.children)
    cell.setAttribute("aria-pressed", String(cell.dataset.head === locked));
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (!width) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const style = getComputedStyle(panel);
  const keys = row.length / (of.layers * of.heads);
  const gap = 3;
  const wide = width / of.heads - gap;
  const high = height / of.layers - gap;
  const columns = Math.min(keys, Math.max(1, Math.floor((wide - 4) / 2)));
  for (let layer = 0; layer < of.layers; layer++)
    for (let index = 0; index < of.heads; index++) {
      const left = index * (wide + gap) + gap / 2;
      const top = layer * (high + gap) + gap / 2;
      pen.fillStyle = style.getPropertyValue("--kk-cell");
      pen.fillRect(left, top, wide, high);
      pen.fillStyle = style.getPropertyValue("--kk-bar");
      const start = (layer * of.heads + index) * keys;
      const bar = (wide - 4) / columns;
      for (let column = 0; column < columns; column++) {
        let most = 0;
        const end = Math.max(Math.floor(((column + 1) * keys) / columns), 1);
        for (let key = Math.floor((column * keys) / columns); key < end; key++)
          most = Math.max(most, row[start + key]);
        const tall = (most / 255) * (high - 4);
        pen.fillRect(left + 2 + column * bar, top + high - 2 - tall, Math.max(bar - 0.5, 1), tall);
      }
    }
}

function draw() {
  const of = doc();
  panel.querySelector(".p-empty").hidden = Boolean(of);
  panel.querySelector(".p-body").hidden = !of;
  if (!of) return;
  const numbers = [...answers.keys()].sort((a, b) => a - b);
  const place = numbers.indexOf(current);
  $(".p-number").textContent = `${current}번째 답`;
  $(".p-before").disabled = place === 0;
  $(".p-after").disabled = place === numbers.length - 1;
  $(".p-pager").hidden = numbers.length < 2;
  $(".p-follow").hidden = picked === null || of.closed;
  const note = $(".p-note");
  note.hidden = !of.dropped;
  note.textContent = of.dropped
    ? `대화가 길어서 맨 앞 말 ${of.dropped}개는 이번에 읽지 못했어요(한 번에 ${of.context}조각까지).`
    : "";
  buildHeads(of);
  if (!of.steps.length) drawStream(of);
  refresh();
}

// ---- what the person does ----------------------------------------------------------------------

function pick(step, focus) {
  const of = doc();
  picked = Math.max(0, Math.min(of.steps.length - 1, step));
  const position = of.tokens.length - of.steps.length + picked;
  if (focus) of.chips[position]?.focus({ preventScroll: true });
  draw();
}

function turnTo(number) {
  if (answers.has(number)) {
    current = number;
    picked = null;
    preview = null;
    draw();
  } else {
    const words = "이 답의 속은 이제 남아 있지 않아요. 다시 물어보면 새로 볼 수 있어요.";
    lost(words);
    $(".p-sentence").textContent = words;
  }
}

stream.addEventListener("click", (event) => {
  const node = event.target.closest(".p-chip");
  if (node?.dataset.step !== undefined) pick(Number(node.dataset.step), true);
});

stream.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  if (!(event.key in moves) || event.target.dataset.step === undefined) return;
  event.preventDefault();
  pick(Number(event.target.dataset.step) + moves[event.key], true);
});

// The weight of the piece under the pointer (or last touched), in figures.
function readOut() {
  const weight = pointed?.dataset.weight;
  $(".p-readout").textContent =
    weight === undefined ? "" : `‘${pointed.textContent}’ ${percent(Number(weight))}`;
}
function point(event) {
  pointed = event.target.closest?.(".p-chip") ?? null;
  readOut();
}
stream.addEventListener("pointerover", point);
stream.addEventListener("pointerdown", point);
stream.addEventListener("pointerleave", (event) => {
  if (event.pointerType === "touch") return;
  pointed = null;
  readOut();
});

function look(head) {
  preview = head;
  if (head && shown && shown.doc === doc()) {
    // The colours at once, from the bytes that are here; the words follow.
    const { doc: of, row } = shown;
    const [layer, index] = head.split(".").map(Number);
    const keys = row.length / (of.layers * of.heads);
    const start = (layer * of.heads + index) * keys;
    weigh(of, [...row.slice(start, start + keys)].map((byte) => (byte / 255) ** 2));
  }
  refresh();
}

cells.addEventListener("pointerover", (event) => {
  if (event.pointerType !== "touch" && event.target.dataset.head) look(event.target.dataset.head);
});
cells.addEventListener("pointerleave", () => look(null));
cells.addEventListener("focusin", (event) => {
  if (event.target.matches(":focus-visible")) look(event.target.dataset.head);
});
cells.addEventListener("focusout", () => look(null));
cells.addEventListener("click", (event) => {
  const head = event.target.dataset.head;
  if (!head) return;
  locked = locked === head ? null : head;
  for (const cell of cells.children) cell.tabIndex = cell === event.target ? 0 : -1;
  draw();
});
cells.addEventListener("keydown", (event) => {
  const all = [...cells.children];
  const wide = doc().heads;
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide };
  if (event.key === "Escape") {
    locked = null;
    draw();
  }
  if (!(event.key in moves)) return;
  event.preventDefault();
  const next = all[all.indexOf(event.target) + moves[event.key]];
  if (!next) return;
  for (const cell of all) cell.tabIndex = cell === next ? 0 : -1;
  next.focus({ preventScroll: true });
});

$(".p-mean").addEventListener("click", () => {
  locked = null;
  draw();
});
$(".p-follow").addEventListener("click", () => {
  picked = null;
  draw();
});
$(".p-before").addEventListener("click", () => {
  turnTo(Math.max(...[...answers.keys()].filter((number) => number < current)));
});
$(".p-after").addEventListener("click", () => {
  turnTo(Math.min(...[...answers.keys()].filter((number) => number > current)));
});
document.addEventListener("kkoma:look", (event) => {
  turnTo(event.detail);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (matchMedia("(max-width: 899px)").matches)
    panel.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
});

const redraw = () => shown && shown.doc === doc() && drawHeads(shown.doc, shown.row);
new ResizeObserver(redraw).observe($(".p-map"));
new MutationObserver(redraw).observe(document.body, { attributeFilter: ["class"] });

for (const tick of TICKS) {
  const mark = make("b", "", tick === 0 ? "0" : `${tick * 100}`);
  mark.style.left = `${shade(tick) * 100}%`;
  $(".p-scale").append(mark);
}
$(".p-scale").append(make("em", "", "%"));

function update() {
  const value = props.value || "";
  if (!value) lost("질문하면, 꼬마GPT가 조각을 하나 고를 때마다 앞의 어느 말을 얼마나 보았는지 여기에 나타나요.");
  read(value);
  draw();
}
watch("value", update);
update();
