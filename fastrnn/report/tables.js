"use strict";
// Tables are sorted by a click (or Enter) on a column's head: numbers by value, the rest as text; again: the other way.
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
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (typeof x === "string" || typeof y === "string") return String(x).localeCompare(String(y), undefined, { numeric: true });
        return (Number.isNaN(x) - Number.isNaN(y)) * (down ? -1 : 1) || x - y || 0; // what has no number comes last
      };
      const rows = [...body.rows].sort((a, b) => (down ? -1 : 1) * compare(a, b));
      body.append(...rows);
    });
  });
}
