// Keeps a page as fresh as the data. An event of its dataset is a sign to fetch the page again and to
// put its live parts (an id and data-live) in the place of the old ones, where they differ.
"use strict";
(() => {
  const LEAST_PAUSE = 400; // milliseconds between two fetches: events come in bursts
  const WORKING_PAUSE = 3000; // while something is in work, which gives no event until it is done
  const state = document.getElementById("live-state");
  let source = null;
  let fetchedAt = 0;
  let timer = 0;
  let isFetching = false;

  const say = (word) => {
    if (!state) return;
    state.hidden = false;
    state.dataset.state = word;
    if (state.textContent !== word) state.textContent = word;
  };

  // Whether somebody has begun to fill in or to choose something there.
  const isTouched = (part) =>
    [...part.querySelectorAll("input, textarea, select")].some((each) =>
      each.matches("[type=radio], [type=checkbox]")
        ? each.checked !== each.defaultChecked
        : each.matches("select")
          ? [...each.options].some((option) => option.selected !== option.defaultSelected && each.selectedIndex > 0)
          : each.value !== each.defaultValue,
    );

  const replace = (fresh) => {
    for (const part of document.querySelectorAll("[data-live][id]")) {
      const found = fresh.getElementById(part.id);
      if (!found || found.outerHTML === part.outerHTML) continue;
      // What somebody has opened or closed, and where the keyboard is, stays.
      const known = new Map([...part.querySelectorAll("details[id]")].map((each) => [each.id, each.open]));
      for (const each of found.querySelectorAll("details[id]")) {
        if (known.has(each.id)) each.open = known.get(each.id);
      }
      if (isTouched(part)) continue;
      if (part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) continue;
      const held = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      part.replaceWith(document.adoptNode(found));
      if (!held) continue;
      // The same link, or what stands in its place where it was the only one.
      const links = [...found.querySelectorAll("a[href]")];
      (links.find((each) => each.getAttribute("href") === held) ?? (links.length === 1 ? links[0] : null))?.focus();
    }
    document.body.dataset.seen = fresh.body.dataset.seen;
    document.dispatchEvent(new CustomEvent("headrace:refreshed"));
  };

  const refresh = async () => {
    timer = 0;
    if (isFetching) return later(LEAST_PAUSE);
    isFetching = true;
    fetchedAt = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (answer.ok) replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // the console is away; its line says so, and comes again
    } finally {
      isFetching = false;
    }
    if (document.querySelector("[data-working]")) later(WORKING_PAUSE);
  };

  const later = (pause) => {
    if (timer && pause >= WORKING_PAUSE) return;
    clearTimeout(timer);
    timer = setTimeout(refresh, pause);
  };

  const changed = () => later(Math.max(0, LEAST_PAUSE - (Date.now() - fetchedAt)));

  window.headraceRefresh = changed; // for scripts of a page that has done something

  const listen = () => {
    if (source || document.hidden) return;
    const { follow, seen } = document.body.dataset;
    const asked = new URLSearchParams({ seen });
    if (follow.trim()) asked.set("dataset", follow.trim());
    source = new EventSource(`/live?${asked}`);
    source.onopen = () => say("live");
    source.onmessage = changed;
    source.onerror = () => say(source && source.readyState === EventSource.CLOSED ? "not live" : "reconnecting");
  };

  // Browsers open six lines to a server: a tab that nobody sees gives its own back.
  const settle = () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else if (!source) {
      listen();
      if (fetchedAt) changed();
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    const again = document.querySelector("[data-again]");
    if (again) {
      setTimeout(() => location.reload(), Number(again.dataset.again) * 1000);
      return;
    }
    if (!document.querySelector("[data-live]")) return;
    document.addEventListener("visibilitychange", settle);
    listen();
    if (document.querySelector("[data-working]")) later(WORKING_PAUSE);
  });
})();
