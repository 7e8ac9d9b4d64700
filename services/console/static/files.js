// Files for a form: dropped anywhere on its place, listed with their sizes, and sent with a sign that
// they are on their way. Without this the form's own field does it all.
"use strict";
(() => {
  const said = (bytes) => {
    const units = ["bytes", "KB", "MB", "GB"];
    let place = 0;
    while (bytes >= 1000 && place < units.length - 1) {
      bytes /= 1000;
      place += 1;
    }
    return `${bytes.toFixed(place && bytes < 10 ? 1 : 0)} ${units[place]}`;
  };
  document.addEventListener("DOMContentLoaded", () => {
    for (const place of document.querySelectorAll(".drop")) {
      const input = place.querySelector("input[type=file]");
      const list = place.querySelector("ul");
      const tell = () => {
        list.replaceChildren(
          ...[...input.files].map((file) => {
            const line = document.createElement("li");
            line.textContent = `${file.name}, ${said(file.size)}`;
            return line;
          }),
        );
      };
      input.addEventListener("change", tell);
      for (const name of ["dragenter", "dragover"]) {
        place.addEventListener(name, (event) => {
          event.preventDefault();
          place.classList.add("over");
        });
      }
      place.addEventListener("dragleave", () => place.classList.remove("over"));
      place.addEventListener("drop", (event) => {
        event.preventDefault();
        place.classList.remove("over");
        if (!event.dataTransfer.files.length) return;
        input.files = event.dataTransfer.files;
        tell();
      });
      input.form.addEventListener("submit", () => {
        const button = input.form.querySelector("button[type=submit]");
        button.textContent = "Sending …";
        button.setAttribute("aria-busy", "true");
      });
    }
  });
})();
