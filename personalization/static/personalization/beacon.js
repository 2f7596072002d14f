/* What happens on a page, sent only where the page carries this script: that is, with consent.
   Events wait in localStorage until the server has confirmed them; sent twice, they are stored once. */
(() => {
  "use strict";
  const script = document.currentScript;
  if (!script) { return; }
  const { pzEndpoint: endpoint, pzToken: token, pzChannel: channel } = script.dataset;
  const PREFIX = "pz_queue", STORE = PREFIX + ":" + token.split(":")[0];
  const MOST = 100, BATCH = 50, BYTES = 60000, LARGE = 9000, SEEN_MS = 1000, PAUSE_MS = 2000;
  let queue = [], stopped = false, sending = false, timer = 0, failures = 0, since = 0;
  const visible = () => document.visibilityState === "visible";

  function store(work) {
    try { return work(localStorage); } catch (error) { /* full or forbidden: events live as long as the page */ }
  }

  function purge(kept) {  // what somebody else has left behind in this browser is not ours to send
    store((box) => Object.keys(box).forEach((key) => {
      if (key.startsWith(PREFIX) && key !== kept) { box.removeItem(key); }
    }));
  }

  function keep() {
    queue = queue.slice(-MOST);
    store((box) => queue.length ? box.setItem(STORE, JSON.stringify(queue)) : box.removeItem(STORE));
  }

  function forget() {
    stopped = true;
    queue = [];
    clearTimeout(timer);
    purge();
  }

  if (navigator.globalPrivacyControl) { purge(); return; }

  function uuid() {
    if (crypto.randomUUID) { return crypto.randomUUID(); }
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  function track(type, fields) {
    if (stopped) { return; }
    const event = { id: uuid(), type, occurred_at: new Date().toISOString(), ...fields };
    if (JSON.stringify(event).length > LARGE) { return; }
    queue.push(event);
    keep();
    later(PAUSE_MS);
  }

  function later(wait) {
    clearTimeout(timer);
    timer = setTimeout(flush, wait);
  }

  function packed() {
    const batch = queue.slice(0, BATCH);
    for (;;) {
      const body = JSON.stringify({ token, channel, sent_at: new Date().toISOString(), events: batch });
      if (new Blob([body]).size <= BYTES || batch.length < 2) { return { batch, body }; }
      batch.length = batch.length >> 1;
    }
  }

  function flush() {
    if (stopped || sending || !queue.length || !navigator.onLine) { return; }
    sending = true;
    const { batch, body } = packed();
    fetch(endpoint, {
      method: "POST", body, keepalive: true, credentials: "same-origin", headers: { "Content-Type": "text/plain" }
    }).then((answer) => {
      sending = false;
      if (answer.headers.get("Personalization-Consent") === "none") { return forget(); }
      if (answer.status === 403) { stopped = true; return; }  // the page is too old: the next one sends them
      if (answer.status === 429 || answer.status >= 500) { return retry(Number(answer.headers.get("Retry-After"))); }
      failures = 0;
      queue = queue.filter((event) => !batch.includes(event));
      keep();
      if (queue.length) { later(0); }
    }).catch(() => { sending = false; retry(); });
  }

  function retry(seconds) {
    failures += 1;
    later(Math.max((seconds || 0) * 1000, PAUSE_MS * 2 ** Math.min(failures, 6)));
  }

  function leave() {  // nobody confirms a beacon: what it carries stays in the store, and the next page sends it again
    if (stopped || !queue.length || !navigator.onLine) { return; }
    const body = packed().body;
    if (!(navigator.sendBeacon && navigator.sendBeacon(endpoint, new Blob([body], { type: "text/plain" })))) {
      fetch(endpoint, { method: "POST", body, keepalive: true, headers: { "Content-Type": "text/plain" } }).catch(() => {});
    }
  }

  function figure(value) { return value && isFinite(value) ? Number(value) : undefined; }

  function fieldsOf(element) {
    const data = element.dataset, properties = {};
    for (const key in data) {
      if (/^pz[A-Z]/.test(key) && data[key] && !/^pz(Offer|Item|Category|Value|Track|View)$/.test(key)) {
        const name = key.slice(2).replace(/[A-Z]/g, (letter, at) => (at ? "_" : "") + letter.toLowerCase());
        const number = figure(data[key]);
        properties[name === "decision" ? "decision_id" : name] =
          number === undefined || /decision|_id$|text|title|list|query|device/.test(name) ? data[key] : number;
      }
    }
    return {
      offer_id: figure(data.pzOffer), item_id: data.pzItem, category: data.pzCategory,
      value_minor: figure(data.pzValue), properties
    };
  }

  const kind = (element) => element.dataset.pzOffer ? "offer" : "product";
  const waiting = new Map();
  const observer = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    clearTimeout(waiting.get(target));
    if (isIntersecting) {
      waiting.set(target, setTimeout(function seen() {
        if (!visible()) { waiting.set(target, setTimeout(seen, SEEN_MS)); return; }
        observer.unobserve(target);
        track(kind(target) === "offer" ? "offer_viewed" : "product_seen", fieldsOf(target));
      }, SEEN_MS));
    }
  }), { threshold: 0.5 });

  const SHOWN = "[data-pz-offer]:not([data-pz-track]),[data-pz-item]:not([data-pz-track]):not([data-pz-view])";
  function watch(root) {
    root.querySelectorAll(SHOWN).forEach((element) => observer.observe(element));
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-pz-track]");
    if (button && button.tagName !== "FORM") { track(button.dataset.pzTrack, fieldsOf(button)); return; }
    const card = event.target.closest("a,button:not([data-pz-quiet])") && event.target.closest(SHOWN);
    if (card) { track(kind(card) + "_clicked", fieldsOf(card)); }
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("[data-pz-consent]")) { forget(); }
    else if (form.dataset.pzTrack) { track(form.dataset.pzTrack, fieldsOf(form)); }
  }, true);

  const path = location.pathname.slice(0, 400);
  document.addEventListener("visibilitychange", () => {
    if (visible()) { since = Date.now(); later(PAUSE_MS); return; }
    if (since) {
      track("page_left", { properties: { path, dwell_ms: Math.min(Date.now() - since, 864e5) } });
      since = 0;
    }
    leave();
  });
  addEventListener("online", () => later(0));

  purge(STORE);
  queue = store((box) => JSON.parse(box.getItem(STORE) || "[]")) || [];
  if (!Array.isArray(queue)) { queue = []; }
  if (visible()) { since = Date.now(); }
  track("page_viewed", { properties: { path, title: document.title.slice(0, 200) } });
  document.querySelectorAll("[data-pz-view]").forEach((element) => track("product_viewed", fieldsOf(element)));
  watch(document);
  window.personalization = { track, watch, forget };
})();
