// A search for products over a box of ids, which stays the one thing that is sent. A combobox as ARIA describes it:
// type, arrows, Enter, Escape; every chosen product has a button that takes it off. Without it the ids are typed.
"use strict";

(function () {
  const PAUSE_MS = 200;
  let numbered = 0;

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  function idsOf(field, several) {
    const parts = several ? field.value.split(/[,\n\r，、]/) : [field.value];
    return [...new Set(parts.map((part) => part.trim()).filter(Boolean))];
  }

  function Picker(field) {
    const holder = field.closest(".pz-products");
    const several = holder.dataset.pzSeveral === "1";
    const words = JSON.parse(field.dataset.pzWords);
    const titles = new Map();
    const label = document.querySelector(`label[for="${CSS.escape(field.id)}"]`);
    const key = "pz-product-" + ++numbered;
    const chosen = element("ul", { class: "pz-chosen" });
    const list = element("ul", { class: "pz-found", id: key + "-list", role: "listbox", "aria-label": words.search });
    const status = element("span", { class: "visually-hidden", role: "status" });
    const search = element("input", {
      type: "text", id: key, class: "vTextField", role: "combobox", autocomplete: "off", spellcheck: "false",
      placeholder: words.search, "aria-controls": list.id, "aria-expanded": "false", "aria-autocomplete": "list",
    });
    let timer = 0;
    let latest = 0;
    let active = -1;

    function options() {
      return [...list.querySelectorAll('[role="option"]')];
    }

    function close() {
      latest++;
      clearTimeout(timer);
      list.hidden = true;
      active = -1;
      search.setAttribute("aria-expanded", "false");
      search.removeAttribute("aria-activedescendant");
    }

    function mark(place) {
      const all = options();
      active = all.length ? (place + all.length) % all.length : -1;
      all.forEach((option, index) => option.setAttribute("aria-selected", String(index === active)));
      if (active >= 0) {
        search.setAttribute("aria-activedescendant", all[active].id);
        all[active].scrollIntoView({ block: "nearest" });
      }
    }

    function write(ids) {
      field.value = ids.join(several ? ", " : "");
      field.dispatchEvent(new Event("input", { bubbles: true }));
      show();
    }

    function take(option) {
      titles.set(option.dataset.id, option.dataset.title);
      write(several ? [...new Set([...idsOf(field, several), option.dataset.id])] : [option.dataset.id]);
      search.value = "";
      close();
      search.focus();
    }

    function show() {
      chosen.replaceChildren();
      for (const id of idsOf(field, several)) {
        const title = titles.get(id);
        const remove = element(
          "button",
          { type: "button", class: "pz-take-off", "aria-label": words.remove.replace("%(name)s", title || id) },
          "×",
        );
        remove.addEventListener("click", function () {
          write(idsOf(field, several).filter((other) => other !== id));
          search.focus();
        });
        const line = element("li", {}, title || id);
        if (title) {
          line.append(" ", element("span", { class: "pz-quiet" }, id));
        }
        line.append(" ", remove);
        chosen.append(line);
      }
      chosen.hidden = !chosen.childElementCount;
    }

    function say(text) {
      list.append(element("li", { class: "pz-quiet", role: "presentation" }, text));
      status.textContent = text;
    }

    async function look() {
      const mine = ++latest;
      const address = new URL(field.dataset.pzProducts, location.href);
      address.searchParams.set("term", search.value.trim());
      let answer = null;
      try {
        const response = await fetch(address, { credentials: "same-origin" });
        answer = response.ok && !response.redirected ? await response.json() : null;
      } catch (error) {
        answer = null;
      }
      if (mine !== latest) {
        return;
      }
      list.replaceChildren();
      list.hidden = false;
      search.setAttribute("aria-expanded", "true");
      if (!answer) {
        say(words.failed);
        text.open = true;
        return;
      }
      answer.results.forEach(function (found, place) {
        const option = element(
          "li",
          { id: key + "-" + place, role: "option", "aria-selected": "false", "data-id": found.id, "data-title": found.text },
          found.text, " ", element("span", { class: "pz-quiet" }, [found.id, found.about].filter(Boolean).join(" · ")),
        );
        option.addEventListener("mousedown", (event) => event.preventDefault());
        option.addEventListener("click", () => take(option));
        list.append(option);
      });
      if (!answer.results.length) {
        say(words.none);
      } else {
        status.textContent = words.found.replace("%(count)s", answer.results.length);
        if (answer.pagination.more) {
          say(words.more);
        }
        mark(0);
      }
    }

    search.addEventListener("input", function (event) {
      event.stopPropagation();
      clearTimeout(timer);
      timer = setTimeout(look, PAUSE_MS);
    });
    search.addEventListener("keydown", function (event) {
      const open = !list.hidden;
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (open) {
          mark(active + (event.key === "ArrowDown" ? 1 : -1));
        } else {
          look();
        }
      } else if (event.key === "Enter" && (open || search.value)) {
        event.preventDefault(); // the form is not sent from here
        if (open && active >= 0) {
          take(options()[active]);
        }
      } else if (event.key === "Escape" && open) {
        event.preventDefault();
        close();
      }
    });
    search.addEventListener("blur", close);
    field.addEventListener("change", show);

    holder.querySelectorAll(".pz-chosen [data-pz-item]").forEach(function (line) {
      const quiet = line.querySelector(".pz-quiet");
      if (quiet) {
        titles.set(line.dataset.pzItem, line.firstChild.textContent.trim());
      }
    });
    holder.querySelectorAll(".pz-chosen").forEach((old) => old.remove());
    const text = element("details", { class: "pz-details" }, element("summary", {}, words.ids));
    holder.append(chosen, element("span", { class: "pz-combobox" }, search, list), status, text);
    text.append(field);
    list.hidden = true;
    if (label) {
      field.setAttribute("aria-label", label.textContent.trim() + " " + words.ids);
      label.htmlFor = search.id;
    }
    show();
  }

  function enhance(place) {
    for (const field of place.querySelectorAll("[data-pz-products]")) {
      if (!field.closest(".empty-form") && !field.closest("details.pz-details")) {
        new Picker(field);
      }
    }
  }

  document.addEventListener("DOMContentLoaded", function () {
    enhance(document);
    document.addEventListener("formset:added", (event) => enhance(event.target));
  });
})();
