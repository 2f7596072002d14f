// The admin's only script of ours: panels and job lists that refresh themselves, an audience counted while it is typed,
// tables that say that they scroll, and the focus on what is wrong. Every page works without it.
"use strict";

(function () {
  const EVERY_MS = 3000;
  const PAUSE_MS = 500;

  async function fetched(url, options) {
    const response = await fetch(url, { credentials: "same-origin", ...options });
    if (!response.ok || response.redirected) {
      throw new Error(String(response.status));
    }
    return response;
  }

  // A panel with data-pz-poll is replaced by what its address returns, until it comes back without it.
  function pollPanel(panel) {
    setTimeout(async function () {
      let next = panel;
      if (!document.hidden && !panel.contains(document.activeElement)) {
        try {
          const holder = document.createElement("template");
          holder.innerHTML = await (await fetched(panel.dataset.pzPoll)).text();
          next = holder.content.querySelector("#" + panel.id) || panel;
        } catch (error) {
          next = panel; // the server is away for a moment: try again
        }
      }
      if (next !== panel) {
        panel.replaceWith(next);
        next.querySelectorAll(".pz-scroll").forEach(tellScroll);
      }
      if (next.dataset.pzPoll) {
        pollPanel(next);
      } else if ("pzReload" in next.dataset) {
        location.reload();
      }
    }, EVERY_MS);
  }

  // In the list of jobs only the cells of open jobs are asked for.
  function pollJobs(note) {
    const open = [...document.querySelectorAll('[data-pz-part="state"][data-pz-open="1"]')];
    if (!open.length) {
      return;
    }
    const ids = open.map((cell) => cell.dataset.pzJob);
    setTimeout(async function () {
      if (!document.hidden) {
        try {
          const states = await (await fetched(note.dataset.pzJobs + "?ids=" + ids.join(","))).json();
          let ended = false;
          for (const [id, parts] of Object.entries(states)) {
            for (const part of ["state", "progress", "stage"]) {
              const cell = document.querySelector(`[data-pz-job="${id}"][data-pz-part="${part}"]`);
              if (cell) {
                cell.outerHTML = parts[part];
              }
            }
            ended = ended || !parts.open;
          }
          if (ended && !document.querySelector("input.action-select:checked")) {
            location.reload();
            return;
          }
        } catch (error) {
          // The server is away for a moment: try again.
        }
      }
      pollJobs(note);
    }, EVERY_MS);
  }

  // What is wider than its place shows a shadow at the edge behind which more lies. The keyboard reaches it, so that the
  // arrow keys scroll it; where nothing names it yet, it is called as its page.
  function tellScroll(region) {
    const frame = document.createElement("div");
    const named = region.hasAttribute("role");
    frame.className = "pz-frame";
    region.before(frame);
    frame.append(region);
    function update() {
      const hidden = region.scrollWidth - region.clientWidth;
      const passed = Math.abs(region.scrollLeft); // from right to left it counts down
      frame.classList.toggle("pz-more-before", passed > 1);
      frame.classList.toggle("pz-more-after", hidden - passed > 1);
      if (named) {
        return;
      }
      if (hidden > 1) {
        region.tabIndex = 0;
        region.setAttribute("role", "region");
        region.setAttribute("aria-label", document.querySelector("#content h1")?.textContent.trim() || document.title);
      } else {
        ["tabindex", "role", "aria-label"].forEach((name) => region.removeAttribute(name));
      }
    }
    region.addEventListener("scroll", update, { passive: true });
    const sizes = new ResizeObserver(update);
    sizes.observe(region);
    if (region.firstElementChild) {
      sizes.observe(region.firstElementChild);
    }
  }

  function watchAudience(panel) {
    const form = panel.closest("form");
    const now = panel.querySelector("[data-pz-audience-now]");
    if (!form || !form.querySelector('[name^="audience_"]')) {
      return;
    }
    let timer = 0;
    let latest = 0;
    async function count() {
      const mine = ++latest;
      const body = new FormData();
      for (const input of form.querySelectorAll('[name^="audience_"], [name="delivery"], [name="csrfmiddlewaretoken"]')) {
        body.append(input.name, input.value);
      }
      body.append("campaign", panel.dataset.pzCampaign);
      try {
        const answer = await (await fetched(panel.dataset.pzAudience, { method: "POST", body })).json();
        if (mine === latest) {
          now.innerHTML = answer.html;
        }
      } catch (error) {
        // The count shown stays; saving checks the audience again.
      }
    }
    form.addEventListener("input", function (event) {
      if (event.target.name && (event.target.name.startsWith("audience_") || event.target.name === "delivery")) {
        clearTimeout(timer);
        timer = setTimeout(count, PAUSE_MS);
      }
    });
  }

  // Amounts stand in the campaign's currency, also while it is being changed.
  function watchCurrency(input) {
    input.addEventListener("input", function () {
      for (const label of document.querySelectorAll("[data-pz-currency]")) {
        label.textContent = input.value.toUpperCase();
      }
    });
  }

  // After a refused form the first field that is wrong has the focus; the admin's own script, which may run later than
  // this one, gives it to the first field of all.
  function focusError() {
    const note = document.querySelector("#content-main .errornote");
    if (!note) {
      return;
    }
    const wrong = note.closest("form")?.querySelector('[aria-invalid="true"]:not([type="hidden"]):not(:disabled)');
    for (let part = wrong?.closest("details"); part; part = part.parentElement.closest("details")) {
      part.open = true;
    }
    if (!wrong) {
      note.tabIndex = -1;
    }
    (wrong || note).focus();
  }

  window.addEventListener("load", focusError);
  document.addEventListener("DOMContentLoaded", function () {
    document.querySelectorAll("[data-pz-poll]").forEach(pollPanel);
    document.querySelectorAll("[data-pz-jobs]").forEach(pollJobs);
    document.querySelectorAll("[data-pz-audience]").forEach(watchAudience);
    document.querySelectorAll("#changelist .results, .pz-scroll").forEach(tellScroll);
    document.querySelectorAll(".model-campaign #id_currency").forEach(watchCurrency);
  });
})();
