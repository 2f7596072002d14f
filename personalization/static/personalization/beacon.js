/* Page events, sent only where the page carries this script: that is, with consent.
   Offers count as viewed when half of them stayed on the screen for one second. */
(function () {
  "use strict";
  var script = document.currentScript;
  if (!script || navigator.globalPrivacyControl) { return; }
  var endpoint = script.dataset.pzEndpoint;
  var token = script.dataset.pzToken;
  var STORE = "pz_queue:" + token.split(":")[0];
  var MOST = 100;
  var queue = restore();
  var started = Date.now();
  var timer = 0;

  function restore() {
    try {  // what somebody else has left behind in this browser is not ours to send
      Object.keys(localStorage).forEach(function (key) {
        if (key.indexOf("pz_queue") === 0 && key !== STORE) { localStorage.removeItem(key); }
      });
      return JSON.parse(localStorage.getItem(STORE) || "[]").slice(-MOST);
    } catch (error) { return []; }
  }

  function keep() {
    try {
      if (queue.length) { localStorage.setItem(STORE, JSON.stringify(queue.slice(-MOST))); }
      else { localStorage.removeItem(STORE); }
    } catch (error) { /* storage is full or forbidden: the events live as long as the page */ }
  }

  function uuid() {
    if (crypto.randomUUID) { return crypto.randomUUID(); }
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), function (byte) {
      return byte.toString(16).padStart(2, "0");
    }).join("");
  }

  function record(type, fields) {
    queue.push(Object.assign({ id: uuid(), type: type, occurred_at: new Date().toISOString() }, fields));
    keep();
    clearTimeout(timer);
    timer = setTimeout(flush, 2000);
  }

  function body(batch) {
    return JSON.stringify({ token: token, sent_at: new Date().toISOString(), events: batch });
  }

  function flush() {
    if (!queue.length) { return; }
    var batch = queue.slice(0, MOST);
    fetch(endpoint, {
      method: "POST", body: body(batch), keepalive: true, credentials: "same-origin",
      headers: { "Content-Type": "text/plain" }
    }).then(function (response) {
      if (response.ok || (response.status >= 400 && response.status < 500)) {
        var sent = new Set(batch.map(function (event) { return event.id; }));
        queue = queue.filter(function (event) { return !sent.has(event.id); });
        keep();
      }
    }).catch(function () { /* offline: the next page tries again */ });
  }

  function leave() {
    if (queue.length && navigator.sendBeacon(endpoint, new Blob([body(queue.slice(0, MOST))], { type: "text/plain" }))) {
      queue = queue.slice(MOST);
      keep();
    }
  }

  function offerFields(card) {
    return {
      offer_id: Number(card.dataset.pzOffer),
      properties: { decision_id: card.dataset.pzDecision, position: Number(card.dataset.pzPosition) }
    };
  }

  function watchOffers() {
    var cards = document.querySelectorAll("[data-pz-offer]");
    var waiting = new Map();
    var observer = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        var card = entry.target;
        if (entry.isIntersecting && !waiting.has(card)) {
          waiting.set(card, setTimeout(function () {
            observer.unobserve(card);
            record("offer_viewed", offerFields(card));
          }, 1000));
        } else if (!entry.isIntersecting && waiting.has(card)) {
          clearTimeout(waiting.get(card));
          waiting.delete(card);
        }
      });
    }, { threshold: 0.5 });
    cards.forEach(function (card) {
      observer.observe(card);
      card.addEventListener("click", function (event) {
        if (event.target.closest("a, button")) { record("offer_clicked", offerFields(card)); leave(); }
      });
    });
  }

  record("page_viewed", { properties: { path: location.pathname.slice(0, 400), title: document.title.slice(0, 200) } });
  watchOffers();
  document.addEventListener("visibilitychange", function () {
    if (document.visibilityState === "hidden") { leave(); }
  });
  window.personalization = { track: record, dwell: function () { return Date.now() - started; } };
})();
