"use strict";
// Tables are sorted by a click (or Enter) on a column's head: numbers by value, the rest as text; again: the other way.
const collator = new Intl.Collator(undefined, { numeric: true });
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead th")];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[column];
        return "v" in cell.dataset ? Number(cell.dataset.v) : cell.textContent;
      };
      const compare = (x, y) => {
        if (typeof x === "string" || typeof y === "string") return collator.compare(x, y);
        return (Number.isNaN(x) - Number.isNaN(y)) * (down ? -1 : 1) || x - y || 0; // what has no number comes last
      };
      const rows = [...body.rows].map((row) => [value(row), row]); // read once: there may be thousands
      rows.sort(([x], [y]) => (down ? -1 : 1) * compare(x, y));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
