"use strict";
// Fetches the page two seconds after the last time, as long as it is looked at. Keeps open what is open,
// and the focus. Waits while text is selected, since that would be lost.
(() => {
  const state = document.getElementById("state");

  async function refresh() {
    try {
      const reply = await fetch(location.pathname + "?format=html", { cache: "no-store" });
      if (!reply.ok) throw new Error(reply.statusText);
      show(new DOMParser().parseFromString(await reply.text(), "text/html"));
    } catch (e) {
      state.textContent = "no answer: " + e.message;
    }
  }

  function show(next) {
    for (const open of document.querySelectorAll("main details[open]")) {
      const same = twin(open, next);
      if (same) same.open = true;
    }
    const focused = document.activeElement.closest("main details");
    const summary = focused && twin(focused, next)?.querySelector("summary");
    document.querySelector("main").replaceWith(next.querySelector("main"));
    state.replaceChildren(...next.getElementById("state").childNodes);
    summary?.focus({ preventScroll: true });
  }

  // twin finds the counterpart of an element: by its id, or by its place below one that has an id.
  function twin(element, page) {
    if (element.id) return page.getElementById(element.id);
    const owner = element.parentElement.closest("details[id]");
    const same = owner && page.getElementById(owner.id);
    if (!same) return null;
    return same.querySelectorAll("details")[[...owner.querySelectorAll("details")].indexOf(element)];
  }

  function busy() {
    return document.hidden || !getSelection().isCollapsed;
  }

  setTimeout(async function again() {
    if (!busy()) await refresh();
    setTimeout(again, 2000);
  }, 2000);
})();
