"use strict";
// Sorting: a click on a heading sorts its table by that column; numbers by size, cells without a figure last.
for (const table of document.querySelectorAll("table.sorts")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const numeric = !heading.classList.contains("text");
      const first = numeric ? "descending" : "ascending";
      const second = numeric ? "ascending" : "descending";
      const order = heading.getAttribute("aria-sort") === first ? second : first;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (!numeric) return sign * x.localeCompare(y, "en", { numeric: true });
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (Number(x) - Number(y));
      });
      table.tBodies[0].append(...rows);
    });
  });
}

// Pictures: the plotting library lies in the page compressed, once.
async function unpacked(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function draw() {
  const script = document.createElement("script");
  script.textContent = await unpacked("plotly");
  document.head.append(script);
  const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
  const style = {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12 }, height: 340, hovermode: "closest",
    margin: { l: 60, r: 20, t: 30, b: 50 }, legend: { orientation: "h", y: -0.2 }, plot_bgcolor: "#fff",
  };
  const axis = { zeroline: false, gridcolor: "#eee", automargin: true };
  for (const [id, chart] of Object.entries(JSON.parse(document.getElementById("charts").textContent))) {
    const layout = { ...style, ...chart.layout };
    for (const name of ["xaxis", "yaxis", "yaxis2"]) if (name in layout) layout[name] = { ...axis, ...layout[name] };
    await window.Plotly.newPlot(id, chart.data, layout, config);
  }
  document.documentElement.dataset.drawn = "yes";
}

draw();
