// The rule builder of an audience: nested groups over a text area of JSON, which stays the one thing that is sent.
// A rule that it does not understand stays text. Everything is a form control: labels, tab order, Enter and Space.
"use strict";

(function () {
  let numbered = 0;

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key === "className") {
        made.className = value;
      } else {
        made.setAttribute(key, value);
      }
    }
    made.append(...children);
    return made;
  }

  function labelled(text, control) {
    control.id = control.id || "pz-rule-" + ++numbered;
    return element("span", { className: "pz-rule-part" }, element("label", { for: control.id }, text), control);
  }

  function select(pairs, chosen) {
    const made = element("select");
    for (const [value, text] of pairs) {
      const option = element("option", { value }, text);
      option.selected = value === chosen;
      made.append(option);
    }
    return made;
  }

  // A rule as groups: {join: all|any|none, parts: [group or condition]}. Throws on what cannot be shown.
  function groupOf(rule) {
    if (!rule || !Object.keys(rule).length) {
      return { join: "all", parts: [] };
    }
    if (Array.isArray(rule.all) || Array.isArray(rule.any)) {
      const join = Array.isArray(rule.all) ? "all" : "any";
      return { join, parts: rule[join].map(partOf) };
    }
    if (rule.not) {
      return Array.isArray(rule.not.any)
        ? { join: "none", parts: rule.not.any.map(partOf) }
        : { join: "none", parts: [partOf(rule.not)] };
    }
    return { join: "all", parts: [partOf(rule)] };
  }

  function partOf(rule) {
    if (typeof rule !== "object" || rule === null || Array.isArray(rule)) {
      throw new Error("not a rule");
    }
    return rule.all || rule.any || rule.not ? groupOf(rule) : { condition: rule };
  }

  function Builder(area) {
    const known = JSON.parse(area.dataset.pzRules);
    const words = known.words;
    const fields = new Map(known.fields.map((field) => [field.name, field]));
    const holder = element("div", { className: "pz-rule-builder" });

    function changed() {
      const rule = read(holder.firstElementChild);
      area.value = rule ? JSON.stringify(rule, null, 1) : "";
      area.dispatchEvent(new Event("input", { bubbles: true }));
    }

    function read(box) {
      const join = box.querySelector(":scope > .pz-rule-head select").value;
      const parts = [...box.querySelector(":scope > .pz-rule-parts").children]
        .map((part) => (part.matches(".pz-rule-group") ? read(part) : part.pzRead()))
        .filter(Boolean);
      if (!parts.length) {
        return null;
      }
      return join === "none" ? { not: { any: parts } } : { [join]: parts };
    }

    function button(text, action, about) {
      const made = element("button", { type: "button", className: "button pz-rule-button" }, text);
      if (about) {
        made.setAttribute("aria-label", about);
      }
      made.addEventListener("click", action);
      return made;
    }

    function remover(box) {
      return button(words.remove, function () {
        const next = box.parentElement.closest(".pz-rule-group").querySelector("select");
        box.remove();
        changed();
        next.focus();
      });
    }

    function showGroup(group, level) {
      const join = select(Object.entries(known.joins), group.join);
      const parts = element("div", { className: "pz-rule-parts" });
      const box = element("div", { className: "pz-rule-group", role: "group", "aria-label": words.join });
      const head = element("div", { className: "pz-rule-head" }, labelled(words.join, join));
      head.append(button(words.add, () => add(showCondition({ field: known.fields[0].name }))));
      if (level < known.depth - 1) {
        head.append(button(words.group, () => add(showGroup({ join: "any", parts: [] }, level + 1))));
      }
      function add(part) {
        parts.append(part);
        part.querySelector("select").focus();
        changed();
      }
      join.addEventListener("change", changed);
      box.append(head, parts);
      if (level > 1) {
        head.append(remover(box));
      }
      for (const part of group.parts) {
        parts.append(part.condition ? showCondition(part.condition) : showGroup(part, level + 1));
      }
      return box;
    }

    function kindOf(condition) {
      if ("interest" in condition || "event" in condition) {
        return "interest" in condition ? "interest" : "event";
      }
      if (String(condition.field).startsWith("attributes.")) {
        return "attributes.";
      }
      if (!fields.has(condition.field)) {
        throw new Error("unknown field");
      }
      return condition.field;
    }

    function showCondition(given) {
      const kinds = [...known.fields.map((field) => [field.name, field.label])];
      kinds.push(["interest", words.interest], ["event", words.event], ["attributes.", words.custom]);
      const kind = select(kinds, kindOf(given));
      const rest = element("span", { className: "pz-rule-rest" });
      const row = element("div", { className: "pz-rule-row" }, labelled(words.field, kind), rest);
      row.append(remover(row));
      function fill(condition) {
        rest.replaceChildren();
        row.pzRead = controls(kind.value, condition, rest);
      }
      kind.addEventListener("change", function () {
        fill({});
        changed();
      });
      row.addEventListener("input", (event) => event.target !== kind && changed());
      fill(given);
      return row;
    }

    // Puts the controls of one kind of condition into a place and returns what reads them; null: not complete yet.
    function controls(kind, given, place) {
      const field = fields.get(kind);
      const ops = kind === "attributes." ? ["in", ">=", "<="] : field ? field.ops : [">=", "<="];
      const op = select(ops.map((name) => [name, known.ops[name]]), given.op || ops[0]);
      const extra = {};
      function ask(name, text, type, value) {
        const input = element("input", { type, value: value === undefined ? "" : String(value) });
        if (type === "number") {
          input.step = "any";
        }
        if (text === words.category) {
          input.setAttribute("list", "pz-categories"); // the page's list of what the catalogue has
        }
        extra[name] = input;
        place.append(labelled(text, input));
      }
      if (kind === "interest") {
        ask("interest", words.category, "text", given.interest);
      } else if (kind === "event") {
        extra.event = select(known.events, given.event);
        place.append(labelled(words.event, extra.event));
        ask("category", words.category, "text", given.category);
        ask("days", words.days, "number", given.days === undefined ? 30 : given.days);
      } else if (kind === "attributes.") {
        ask("field", words.name, "text", String(given.field || "").replace("attributes.", ""));
      }
      place.append(labelled(words.op, op));
      const value = valueControl(field, given);
      place.append(labelled(words.value, value));
      return function () {
        const found = valueOf(value, op.value);
        if (found === null) {
          return null;
        }
        if (field) {
          return { field: kind, op: op.value, value: found };
        }
        if (kind === "attributes.") {
          return extra.field.value.trim() && { field: kind + extra.field.value.trim(), op: op.value, value: found };
        }
        if (kind === "interest") {
          return extra.interest.value.trim() && { interest: extra.interest.value.trim(), op: op.value, value: found };
        }
        const about = { event: extra.event.value, days: Number(extra.days.value) };
        if (extra.category.value.trim()) {
          about.category = extra.category.value.trim();
        }
        return { ...about, op: op.value, value: found };
      };
    }

    function valueControl(field, given) {
      if (field && field.type === "flag") {
        return select([["true", words.yes], ["false", words.no]], String(given.value !== false));
      }
      if (field && field.choices.length) {
        const made = select(field.choices, "");
        made.multiple = true;
        made.size = Math.min(field.choices.length, 5);
        for (const option of made.options) {
          option.selected = (given.value || []).includes(option.value);
        }
        return made;
      }
      const text = Array.isArray(given.value) ? given.value.join(", ") : given.value === undefined ? "" : given.value;
      const made = element("input", { type: "text", value: String(text) });
      if (field && field.type === "text") {
        made.placeholder = words.list;
      } else {
        made.inputMode = "decimal";
      }
      return made;
    }

    function valueOf(control, op) {
      if (op === "is") {
        return control.value === "true";
      }
      if (op === "in") {
        const chosen = control.multiple
          ? [...control.selectedOptions].map((option) => option.value)
          : control.value.split(",").map((word) => word.trim()).filter(Boolean);
        return chosen.length ? chosen : null;
      }
      const number = Number(control.value.trim().replace(",", "."));
      return control.value.trim() === "" || !Number.isFinite(number) ? null : number;
    }

    this.show = function () {
      try {
        holder.replaceChildren(showGroup(groupOf(JSON.parse(area.value || "{}")), 1));
      } catch (error) {
        area.after(element("p", { className: "pz-quiet" }, words.kept));
        return;
      }
      const text = element("details", { className: "pz-details" }, element("summary", {}, words.text));
      area.before(holder, text);
      text.append(area);
    };
  }

  document.addEventListener("DOMContentLoaded", function () {
    document.querySelectorAll("textarea[data-pz-rules]").forEach((area) => new Builder(area).show());
  });
})();
