// The campaign's page: shows the fields that matter for an offer's kind, opens the step that a link leads to, and marks
// the step in view. Without it every field is there, grouped by kind.
"use strict";

(function () {
  // A field that does not belong to the kind is hidden only while it is empty or as it came: nothing typed gets lost.
  const HARMLESS = new Set(["delay_days"]);

  function isBlank(box, name) {
    if (HARMLESS.has(name)) {
      return true;
    }
    return [...box.querySelectorAll("input, select, textarea")].every(
      (input) => input.value === "" || Number(input.value) === 0,
    );
  }

  function boxOf(offer, name) {
    const box = offer.querySelector(".fieldBox.field-" + name);
    return box ? box.parentElement : offer.querySelector(".form-row.field-" + name);
  }

  function showFields(offer, kinds) {
    const select = offer.querySelector('select[name$="-kind"]');
    if (!select) {
      return;
    }
    const wanted = kinds[select.value] || [];
    const every = new Set(Object.values(kinds).flat());
    for (const name of every) {
      const box = boxOf(offer, name);
      if (box) {
        const wrong = box.querySelector(".errorlist") || box.classList.contains("errors");
        box.hidden = !wanted.includes(name) && !wrong && isBlank(box, name);
      }
    }
    for (const part of offer.querySelectorAll("fieldset.pz-benefit")) {
      const rows = [...part.querySelectorAll(".form-row")];
      for (const row of rows) {
        const boxes = [...row.querySelectorAll(".form-multiline > div")];
        if (boxes.length) {
          row.hidden = boxes.every((box) => box.hidden);
        }
      }
      part.hidden = rows.every((row) => row.hidden);
    }
  }

  function watchKinds(group) {
    const kinds = JSON.parse(group.dataset.pzKinds);
    group.querySelectorAll(".inline-related:not(.empty-form)").forEach((offer) => showFields(offer, kinds));
    group.addEventListener("change", function (event) {
      const offer = event.target.closest(".inline-related");
      if (offer && event.target.name && event.target.name.endsWith("-kind")) {
        showFields(offer, kinds);
      }
    });
    document.addEventListener("formset:added", function (event) {
      if (group.contains(event.target)) {
        showFields(event.target, kinds);
      }
    });
  }

  // Paper has no summaries to open: everything is printed, and closed again afterwards.
  function openForPrint() {
    let opened = [];
    window.addEventListener("beforeprint", function () {
      opened = [...document.querySelectorAll("#campaign_form details:not([open])")];
      opened.forEach((part) => (part.open = true));
    });
    window.addEventListener("afterprint", () => opened.forEach((part) => (part.open = false)));
  }

  // A link to a closed step opens it; browsers that do so by themselves find it open already.
  function openTarget() {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    const part = target && target.closest("details.pz-part");
    if (part && !part.open) {
      part.open = true;
      target.scrollIntoView();
    }
  }

  function markStep(nav) {
    const links = new Map([...nav.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
    const seen = new Set();
    const watcher = new IntersectionObserver(
      function (entries) {
        for (const entry of entries) {
          seen[entry.isIntersecting ? "add" : "delete"](entry.target.id);
        }
        const current = [...links.keys()].find((id) => seen.has(id));
        for (const [id, link] of links) {
          if (id === current) {
            link.setAttribute("aria-current", "step");
          } else {
            link.removeAttribute("aria-current");
          }
        }
      },
      { rootMargin: "-80px 0px -60% 0px" },
    );
    for (const id of links.keys()) {
      const target = document.getElementById(id);
      if (target) {
        watcher.observe(target);
      }
    }
  }

  document.addEventListener("DOMContentLoaded", function () {
    document.querySelectorAll("[data-pz-kinds]").forEach(watchKinds);
    document.querySelectorAll(".pz-parts").forEach(markStep);
    window.addEventListener("hashchange", openTarget);
    openForPrint();
    openTarget();
  });
})();
