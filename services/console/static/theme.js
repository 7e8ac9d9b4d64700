// Light, dark, or as the system has it. Loaded before the page is drawn, so that nothing flashes.
"use strict";
(() => {
  const KEY = "headrace-theme";
  const CHOICES = ["auto", "light", "dark"];
  const chosen = () => {
    try {
      const kept = localStorage.getItem(KEY);
      return CHOICES.includes(kept) ? kept : "auto";
    } catch {
      return "auto"; // a browser that keeps nothing
    }
  };
  const apply = (choice) => {
    if (choice === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", choice);
  };
  apply(chosen());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const say = (choice) => {
      button.textContent = choice;
      button.setAttribute("aria-label", `Colours: ${choice}. Press to change.`);
    };
    say(chosen());
    button.hidden = false;
    button.addEventListener("click", () => {
      const next = CHOICES[(CHOICES.indexOf(chosen()) + 1) % CHOICES.length];
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // then it holds for this page only
      }
      apply(next);
      say(next);
    });
  });
})();
