// What the page does by itself, in the browser: the question box, copying, saving, going between
// tabs. Loaded once in the head; Gradio's events call `kkoma.…`.
(() => {
  "use strict";
  const root = document.documentElement;
  root.lang = "ko";

  const box = () => document.querySelector("#kk-box textarea");
  const isBusy = () => root.dataset.busy === "yes";
  const setBusy = (busy) => {
    if (busy) root.dataset.busy = "yes";
    else delete root.dataset.busy;
    document.querySelector("#kk-chat [role=log]")?.setAttribute("aria-busy", String(busy));
  };

  function fill(text) {
    const area = box();
    area.value = text;
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function ready() {
    return !isBusy() && box().value.trim() !== "";
  }

  function openTab(name) {
    for (const tab of document.querySelectorAll("#kk-tabs [role=tab]"))
      if (tab.textContent.trim() === name) tab.click();
  }

  function download(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/markdown;charset=utf-8" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  const two = (number) => String(number).padStart(2, "0");

  function asMarkdown(messages, now) {
    const day = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
    const lines = ["# 꼬마GPT 튜터와 나눈 대화", "", `${day} ${two(now.getHours())}:${two(now.getMinutes())}`];
    for (const message of messages) {
      lines.push("", message.role === "user" ? "## 질문" : "## 답", "", message.content);
      for (const note of [message.aside, message.note])
        if (note) lines.push("", `> 덧붙임(모델의 말이 아니에요): ${note}`);
    }
    return { name: `꼬마GPT-대화-${day}.md`, text: lines.join("\n") + "\n" };
  }

  async function copy(button) {
    const text = button.closest(".message-content").querySelector(".kk-answer").textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "복사했어요";
    setTimeout(() => (button.textContent = "복사"), 1600);
  }

  const asked = () => document.querySelectorAll("#kk-chat .kk-question").length;
  let sent = null; // what was typed, until it stands in the conversation

  window.kkoma = {
    // Each of these is the `js` of a Gradio event: what comes back are the event's inputs.
    send(text, memory) {
      sent = { text, asked: asked() };
      fill("");
      setBusy(true);
      return [text, memory];
    },
    again(memory) {
      setBusy(true);
      return memory;
    },
    rest() {
      setBusy(false);
      if (sent && asked() === sent.asked && box().value === "") fill(sent.text);
      sent = null;
      return [];
    },
    renew() {
      box().focus();
      return [[], "", { version: 1, messages: [] }, ""];
    },
    save(memory) {
      const messages = memory?.messages ?? [];
      if (messages.length) {
        const { name, text } = asMarkdown(messages, new Date());
        download(name, text);
      }
      return [];
    },

    // For the glossary tab.
    askAbout(question) {
      openTab("대화");
      fill(question);
      setTimeout(() => box().focus(), 60);
    },
    openTerm(id) {
      openTab("용어집");
      window.kkoma.term = id;
      document.dispatchEvent(new CustomEvent("kkoma:term"));
    },
    url: (path) => new URL(path, document.baseURI).href,
  };

  document.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.target !== box()) return;
      const composing = event.isComposing || event.keyCode === 229;
      if (!composing && ready()) return;
      event.stopImmediatePropagation();
      if (!composing) event.preventDefault();
    },
    true,
  );

  document.addEventListener(
    "click",
    (event) => {
      const button = event.target.closest?.("button");
      if (!button) return;
      const blocked =
        (button.id === "kk-send" && !ready()) ||
        (isBusy() && ["kk-again", "kk-new"].includes(button.id));
      if (blocked) {
        event.stopImmediatePropagation();
        event.preventDefault();
        box().focus();
      } else if (button.matches(".kk-example")) {
        if (isBusy()) return;
        fill(button.textContent);
        setTimeout(() => document.getElementById("kk-send").click(), 30);
      } else if (button.matches(".kk-copy")) {
        copy(button);
      } else if (button.matches(".kk-open")) {
        const name = [...button.classList].find((each) => each.startsWith("kk-term-"));
        window.kkoma.openTerm(name.slice("kk-term-".length));
      } else if (button.matches(".kk-look")) {
        const answers = [...document.querySelectorAll("#kk-chat .kk-answer")];
        const mine = button.closest(".message-content").querySelector(".kk-answer");
        const detail = answers.indexOf(mine) + 1;
        document.dispatchEvent(new CustomEvent("kkoma:look", { detail }));
      }
    },
    true,
  );

  // Gradio's chatbot names its parts in English; they are named in Korean here.
  function set(element, name, value) {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  }
  function nameParts() {
    for (const log of document.querySelectorAll("#kk-chat [role=log]")) {
      set(log, "aria-label", "대화 내용");
      set(log, "tabindex", "0");
    }
    for (const part of document.querySelectorAll("#kk-chat [data-testid=user]")) {
      set(part, "role", "group");
      set(part, "aria-label", "질문");
    }
    for (const part of document.querySelectorAll("#kk-chat [data-testid=bot]")) {
      set(part, "role", "group");
      set(part, "aria-label", "꼬마GPT의 답");
    }
    for (const part of document.querySelectorAll("#kk-chat [role=complementary]"))
      part.removeAttribute("role");
    for (const part of document.querySelectorAll("#kk-chat [aria-label='Loading response']"))
      set(part, "aria-label", "답을 생각하고 있어요");
    for (const part of document.querySelectorAll(".scroll-down-button-container button")) {
      set(part, "aria-label", "맨 아래로");
      set(part, "title", "맨 아래로");
    }
    for (const part of document.querySelectorAll("#kk-tabs .overflow-menu > button"))
      set(part, "aria-label", "탭 더 보기");
    // What Gradio says in English when the server is full or away; no answer comes then.
    for (const toast of document.querySelectorAll(".toast-title, .toast-message-text"))
      if (/[a-z]/i.test(toast.textContent)) {
        toast.textContent = toast.matches(".toast-title")
          ? "잠깐만요"
          : "지금은 서버가 답할 수 없어요. 잠시 뒤에 다시 해 보세요.";
        if (isBusy()) window.kkoma.rest();
      }
    for (const part of document.querySelectorAll(".toast-close")) set(part, "aria-label", "닫기");
  }

  // What is half typed survives a reload, also the one that Gradio does when a lost server is back.
  const DRAFT = "kkoma-gpt-draft";
  let begun = false;
  function begin() {
    if (begun || !box()) return;
    begun = true;
    const draft = sessionStorage.getItem(DRAFT);
    if (draft) setTimeout(() => fill(draft), 0);
  }
  window.addEventListener("pagehide", () => sessionStorage.setItem(DRAFT, box()?.value ?? ""));

  new MutationObserver(() => {
    nameParts();
    begin();
  }).observe(root, {
    subtree: true,
    childList: true,
    attributes: true,
    attributeFilter: ["aria-label", "role"],
  });
})();
