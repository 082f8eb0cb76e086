"use strict";
(() => {
  const tools = document.getElementById("filter");
  const text = document.getElementById("filter-text");
  const harm = document.getElementById("filter-harm");
  const result = document.getElementById("filter-result");
  if (tools) {
    const stories = [...document.querySelectorAll("article.story")].map((el) => ({ el, text: el.textContent.toLowerCase() }));
    const apply = () => {
      const want = text.value.trim().toLowerCase();
      let n = 0;
      for (const s of stories) {
        const show = s.text.includes(want) && (!harm.checked || s.el.classList.contains("harm"));
        s.el.hidden = !show;
        n += show ? 1 : 0;
      }
      result.textContent = n + " of " + stories.length + " stories shown";
    };
    text.addEventListener("input", apply);
    harm.addEventListener("change", apply);
    tools.hidden = false;
    apply();
  }
  addEventListener("beforeprint", () => {
    for (const d of document.querySelectorAll("details:not([open])")) {
      d.open = true;
      d.dataset.print = "";
    }
  });
  addEventListener("afterprint", () => {
    for (const d of document.querySelectorAll("details[data-print]")) {
      d.open = false;
      delete d.dataset.print;
    }
  });
})();
