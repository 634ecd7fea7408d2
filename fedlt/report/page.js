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

// Legends: a button for each method, which hides it in the charts of the legend. Beneath a chart, or beneath several.
const DASHES = { solid: "", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3", longdash: "10 4" };
const SYMBOLS = {
  "circle": "\u25CF", "square": "\u25A0", "triangle-up": "\u25B2", "diamond": "\u25C6", "triangle-down": "\u25BC",
  "cross": "\u271A", "x": "\u2716", "triangle-left": "\u25C0",
};

// Colours of the pictures that could not be seen on a dark page, and what stands for them there.
const NIGHT = {
  "#000000": "#f0f0f0", "#0072B2": "#4aa3e0", "#882255": "#d97fae", "rgba(0,0,0,0.15)": "rgba(240,240,240,0.15)",
  "rgba(0,114,178,0.15)": "rgba(74,163,224,0.15)", "rgba(136,34,85,0.15)": "rgba(217,127,174,0.15)",
  "#000": "#16181c", "#666": "#a4a8ae", "#555": "#a4a8ae", "#dddddd": "#3a3f46",
};
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function fill(place, charts) {
  place.replaceChildren();
  const ids = place.dataset.charts.split(" ");
  const found = new Map();
  for (const id of ids) {
    for (const trace of charts[id].data) {
      if (trace.legendgroup && trace.name && !found.has(trace.legendgroup)) found.set(trace.legendgroup, trace);
    }
  }
  for (const [group, trace] of found) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.innerHTML = '<svg width="34" height="14" aria-hidden="true"><line x1="0" x2="34" y1="7" y2="7" stroke-width="2"/>'
      + '<text x="17" y="11" text-anchor="middle" font-size="11"></text></svg><span></span>';
    const [line, symbol] = [button.querySelector("line"), button.querySelector("text")];
    line.setAttribute("stroke", trace.line.color);
    line.setAttribute("stroke-dasharray", DASHES[trace.line.dash]);
    symbol.setAttribute("fill", trace.marker.color);
    symbol.textContent = SYMBOLS[trace.marker.symbol];
    button.querySelector("span").textContent = trace.name;
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const id of ids) {
        const traces = charts[id].data.flatMap((other, number) => (other.legendgroup === group ? [number] : []));
        if (traces.length) window.Plotly.restyle(id, { visible: shown }, traces);
      }
    });
    place.append(button);
  }
}

// night: whether the page is dark; a printed one never is.
async function draw(night) {
  const ink = night ? "#e6e6e6" : "#1a1a1a";
  const config = { displaylogo: false, responsive: true, modeBarButtons: [["zoom2d", "resetScale2d", "toImage"]] };
  const style = {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink }, height: 300, hovermode: "closest",
    showlegend: false, paper_bgcolor: night ? "#16181c" : "#fff", plot_bgcolor: night ? "#16181c" : "#fff",
  };
  const margin = { l: 50, r: 12, t: 34, b: 45 };
  const axis = { zeroline: false, gridcolor: night ? "#2b3036" : "#eee", automargin: true };
  const text = document.getElementById("charts").textContent;
  const renamed = (value) => night && typeof value === "string" && Object.hasOwn(NIGHT, value);
  const charts = JSON.parse(text, (_, value) => (renamed(value) ? NIGHT[value] : value));
  for (const [id, chart] of Object.entries(charts)) {
    const layout = { ...style, ...chart.layout, margin: { ...margin, ...chart.layout.margin } };
    for (const name of ["xaxis", "yaxis", "yaxis2"]) {
      if (!(name in layout)) continue;
      layout[name] = { ...axis, ...layout[name] };
      layout[name].title = { standoff: 6, ...layout[name].title };
    }
    if (chart.data.some((trace) => trace.type === "heatmap")) layout.plot_bgcolor = "#fff"; // white: no sample
    await window.Plotly.newPlot(id, chart.data, layout, config);
  }
  for (const place of document.querySelectorAll(".methods")) fill(place, charts);
  document.documentElement.dataset.drawn = "yes";
}

async function start() {
  const script = document.createElement("script");
  script.textContent = await unpacked("plotly");
  document.head.append(script);
  await draw(dark.matches);
  dark.addEventListener("change", () => draw(dark.matches));
  window.addEventListener("beforeprint", () => dark.matches && draw(false));
  window.addEventListener("afterprint", () => dark.matches && draw(true));
}

// A word where a table is wider than the page.
function tell() {
  for (const wide of document.querySelectorAll(".wide")) {
    const more = wide.previousElementSibling.querySelector(".more");
    more.classList.toggle("needed", wide.scrollWidth > wide.clientWidth + 1);
  }
}

window.addEventListener("resize", tell);
document.addEventListener("toggle", tell, true);
tell();
start();
