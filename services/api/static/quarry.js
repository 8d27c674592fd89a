// Conveniences only: everything works without this file.
"use strict";

const box = document.getElementById("q");

document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof Element && event.target.closest("input, textarea, select");
  if (event.key === "/" && box && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    box.focus();
    box.select();
  } else if (event.key === "Escape" && event.target === box) {
    box.blur();
  }
});

for (const radio of document.querySelectorAll(".modes input")) {
  radio.addEventListener("change", () => {
    if (box && box.value.trim()) radio.form.requestSubmit();
  });
}

// Fields left empty need not be in the address.
for (const form of document.querySelectorAll("form.search")) {
  form.addEventListener("submit", () => {
    for (const field of form.querySelectorAll("input[name], select[name]")) {
      if (!field.value && field.name !== "q") field.disabled = true;
    }
  });
  window.addEventListener("pageshow", () => {
    for (const field of form.querySelectorAll(":disabled")) field.disabled = false;
  });
}

if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.classList.add("done");
      window.setTimeout(() => button.classList.remove("done"), 1200);
    });
  }
}

// #L10-L20 marks a range of lines, #L10 one.
function markLines() {
  const found = /^#L(\d+)(?:-L?(\d+))?$/.exec(window.location.hash);
  if (!found || !document.querySelector("table.whole")) return;
  const first = Number(found[1]);
  const last = Math.max(first, Number(found[2] || found[1]));
  for (const row of document.querySelectorAll("tr.asked")) row.classList.remove("asked");
  for (let line = first; line <= last; line += 1) {
    const row = document.getElementById(`L${line}`);
    if (!row) break;
    row.classList.add("asked");
    if (line === first) row.scrollIntoView({ block: "center" });
  }
}

window.addEventListener("hashchange", markLines);
markLines();

for (const cell of document.querySelectorAll("table.whole td.ln")) {
  cell.addEventListener("click", (event) => {
    const line = cell.dataset.n;
    const from = /^#L(\d+)/.exec(window.location.hash);
    const low = from && event.shiftKey ? Math.min(Number(from[1]), Number(line)) : line;
    const high = from && event.shiftKey ? Math.max(Number(from[1]), Number(line)) : line;
    window.location.hash = low === high ? `L${low}` : `L${low}-L${high}`;
  });
}
