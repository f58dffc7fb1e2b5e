// Leaderboards: headings sort, a field filters. Without JavaScript the tables stand as they were written.
document.addEventListener("DOMContentLoaded", () => {
  for (const board of document.querySelectorAll(".board")) {
    const body = board.querySelector("tbody"), heads = [...board.querySelectorAll("th")];
    const rows = [...body.rows], count = board.querySelector("output"), field = board.querySelector("input");

    const filter = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = `${shown} of ${rows.length}`;
    };

    const key = (row, column) => {
      const cell = row.cells[column];
      const text = cell.dataset.sort ?? cell.textContent.trim();
      return cell.dataset.sort === undefined ? text : text === "" ? null : Number(text);
    };

    const sort = (head, column) => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = (a, b) => {
        const [x, y] = [key(a, column), key(b, column)];
        if (x === null || y === null) return (x === null) - (y === null);  // what nobody reported comes last either way
        const by = typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true });
        return down ? -by : by;
      };
      rows.sort(order).forEach((row) => body.append(row));
    };

    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(head, column));
      head.append(button);
    });
    field.addEventListener("input", filter);
    filter();
  }
});
