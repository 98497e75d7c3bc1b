"use strict";
// Fetches the page every two seconds, as long as it is looked at, and keeps open what is open.
(() => {
  const state = document.getElementById("state");

  async function refresh() {
    if (document.hidden) return;
    try {
      const reply = await fetch(location.pathname + "?format=html", { cache: "no-store" });
      if (!reply.ok) throw new Error(reply.statusText);
      const next = new DOMParser().parseFromString(await reply.text(), "text/html");
      for (const open of document.querySelectorAll("main details[open]")) {
        const same = twin(open, next);
        if (same) same.open = true;
      }
      document.querySelector("main").replaceWith(next.querySelector("main"));
      state.replaceChildren(...next.getElementById("state").childNodes);
    } catch (e) {
      state.textContent = "no answer: " + e.message;
    }
  }

  // twin finds the counterpart of an element: by its id, or by its place below one that has an id.
  function twin(element, page) {
    if (element.id) return page.getElementById(element.id);
    const owner = element.parentElement.closest("details[id]");
    const same = owner && page.getElementById(owner.id);
    if (!same) return null;
    return same.querySelectorAll("details")[[...owner.querySelectorAll("details")].indexOf(element)];
  }

  setInterval(refresh, 2000);
})();
