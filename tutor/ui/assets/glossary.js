// Browse, search and read the glossary. Entries come ready from the server; text enters the page
// as textContent only.
const $ = (selector) => element.querySelector(selector);
const page = $(".kk-glossary");
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const button = (className, text, act) => {
  const node = make("button", className, text);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
};
const key = (text) => text.normalize("NFC").toLowerCase().replace(/[\s\-_·.,()'/]+/g, "");

let data = null;
let category = "";
let open = "";

// How well an entry fits what was typed; 0 leaves it out.
function fit(entry, wanted) {
  if (entry.names.some((name) => name === wanted)) return 4;
  if (entry.names.some((name) => name.startsWith(wanted))) return 3;
  if (entry.names.some((name) => name.includes(wanted))) return 2;
  return entry.text.includes(wanted) ? 1 : 0;
}

function found() {
  const wanted = key($("input").value);
  const inside = data.entries.filter((entry) => !category || entry.category === category);
  if (!wanted) return inside;
  return inside
    .map((entry) => [fit(entry, wanted), entry])
    .filter(([score]) => score)
    .sort(([a], [b]) => b - a)
    .map(([, entry]) => entry);
}

function drawList() {
  const entries = found();
  const searching = key($("input").value) !== "";
  $(".g-count").textContent = entries.length
    ? `${entries.length}개`
    : "찾는 말이 아직 용어집에 없어요. 다르게 적어 보거나 대화에서 물어보세요.";
  const list = $(".g-list");
  list.replaceChildren();
  let group = null;
  for (const entry of entries) {
    if (!group || (!searching && group.dataset.category !== entry.category)) {
      if (!searching) list.append(make("h3", "", entry.category));
      group = make("ul");
      group.dataset.category = entry.category;
      list.append(group);
    }
    const item = make("li");
    const link = button("g-link", "", () => show(entry.id, true));
    link.append(make("b", "", entry.term));
    if (entry.english && entry.english !== entry.term) link.append(make("span", "", entry.english));
    link.setAttribute("aria-current", String(entry.id === open));
    item.append(link);
    group.append(item);
  }
}

function drawCategories() {
  const bar = $(".g-categories");
  bar.replaceChildren();
  for (const name of ["", ...data.categories]) {
    const chip = button("g-chip", name || "모두", () => {
      category = name;
      drawCategories();
      drawList();
    });
    chip.setAttribute("aria-pressed", String(name === category));
    bar.append(chip);
  }
}

function part(title, ...children) {
  const section = make("section");
  section.append(make("h3", "", title), ...children);
  return section;
}

function show(id, move) {
  const entry = data.entries.find((each) => each.id === id);
  if (!entry) return;
  open = id;
  const article = $(".g-entry");
  const head = make("header");
  head.append(make("p", "g-kind", entry.category), make("h2", "", entry.term));
  const others = [entry.english, ...entry.aliases].filter((name) => name && name !== entry.term);
  if (others.length) head.append(make("p", "g-names", others.join(" · ")));
  head.append(make("p", "g-summary", entry.summary));
  const act = make("div", "g-acts");
  act.append(
    button("g-ask", "이 말에 대해 물어보기", () => kkoma.askAbout(entry.question)),
    button("g-back", "목록으로", () => {
      page.dataset.view = "list";
      page.scrollIntoView({ block: "start" });
    }),
  );
  article.replaceChildren(head, act);
  for (const [title, text] of entry.facets) article.append(part(title, make("p", "", text)));
  if (entry.compare.length)
    article.append(
      part(
        "다른 말과 견주면",
        ...entry.compare.map(([other, term, text]) => {
          const row = make("div", "g-compare");
          row.append(button("g-term", term, () => show(other, true)), make("p", "", text));
          return row;
        }),
      ),
    );
  if (entry.checks.length)
    article.append(
      part(
        "맞을까요, 틀릴까요?",
        ...entry.checks.map(([claim, verdict, text]) => {
          const row = make("div", "g-check");
          const line = make("p", "g-claim", claim);
          line.prepend(make("b", verdict ? "yes" : "no", verdict ? "맞아요" : "아니에요"));
          row.append(line, make("p", "", text));
          return row;
        }),
      ),
    );
  if (entry.related.length) {
    const row = make("div", "g-related");
    for (const [other, term] of entry.related) row.append(button("g-term", term, () => show(other, true)));
    article.append(part("함께 알면 좋은 말", row));
  }
  article.scrollTop = 0;
  if (move) {
    page.dataset.view = "entry";
    article.focus({ preventScroll: true });
    if (matchMedia("(max-width: 899px)").matches) page.scrollIntoView({ block: "start" });
  }
  drawList();
}

function openWanted() {
  if (!data || !kkoma.term) return;
  const id = kkoma.term;
  kkoma.term = null;
  category = "";
  $("input").value = "";
  drawCategories();
  show(id, true);
}

async function begin() {
  try {
    data = await (await fetch(kkoma.url("tutor/glossary"))).json();
  } catch {
    $(".g-count").textContent = "용어집을 불러오지 못했어요. 화면을 새로 고쳐 주세요.";
    return;
  }
  drawCategories();
  drawList();
  if (data.entries.length) show(data.entries[0].id, false);
  openWanted();
}

$("input").addEventListener("input", drawList);
document.addEventListener("kkoma:term", openWanted);
begin();
