"use strict";

// Draws the figures with the page's own colours and shows the images of the embedding map.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function template() {
  const axis = {
    automargin: true,
    fixedrange: true,
    gridcolor: css("--rule"),
    linecolor: css("--rule"),
    tickcolor: css("--rule"),
    zerolinecolor: css("--rule"),
    title: { standoff: 14 },
  };
  const layout = {
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: css("--ink") },
    paper_bgcolor: "rgba(0, 0, 0, 0)",
    plot_bgcolor: "rgba(0, 0, 0, 0)",
    xaxis: axis,
    yaxis: axis,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    hoverlabel: { bgcolor: css("--ground"), bordercolor: css("--rule"), font: { color: css("--ink") } },
    margin: { l: 8, r: 8, t: 8, b: 8 },
    dragmode: false,
  };
  return { layout };
}

function draw(chart) {
  const figure = JSON.parse(chart.nextElementSibling.textContent);
  const layout = { ...figure.layout, template: template(), autosize: true };
  Plotly.newPlot(chart, figure.data, layout, { displayModeBar: false });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    Plotly.relayout(chart, { template: template() }),
  );
  if (chart.parentElement.matches(".map")) showImages(chart, chart.parentElement.dataset);
}

function showImages(chart, sheet) {
  const tooltip = document.createElement("div");
  const image = document.createElement("div");
  const text = document.createElement("span");
  tooltip.className = "tooltip";
  tooltip.hidden = true;
  image.className = `sheet-${sheet.sheet}`;
  image.style.aspectRatio = `1 / ${sheet.height}`;
  image.style.backgroundSize = `${100 * sheet.columns}% ${100 * sheet.rows}%`;
  tooltip.append(image, text);
  chart.parentElement.append(tooltip);

  const hide = () => (tooltip.hidden = true);
  chart.on("plotly_unhover", hide);
  addEventListener("scroll", hide, { passive: true });
  addEventListener("pointerdown", hide);
  const show = ({ points: [point], event }) => {
    hide();
    if (!point.customdata) return; // a centroid
    const [index, told] = point.customdata;
    const place = (at, count) => `${(100 * at) / Math.max(count - 1, 1)}%`;
    const column = place(index % sheet.columns, sheet.columns);
    const row = place(Math.floor(index / sheet.columns), sheet.rows);
    image.style.backgroundPosition = `${column} ${row}`;
    text.textContent = told;
    tooltip.hidden = false;
    const { width, height } = tooltip.getBoundingClientRect();
    const { clientX, clientY } = event;
    const left = clientX + 16 + width < innerWidth ? clientX + 16 : clientX - 16 - width;
    tooltip.style.left = `${Math.max(left, 4)}px`;
    tooltip.style.top = `${Math.max(clientY - height - 12, 4)}px`;
  };
  chart.on("plotly_hover", show);
  chart.on("plotly_click", show); // a finger does not hover
}

// A chart is drawn when it is first seen with a width: inside closed details it has none.
const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    if (contentRect.width === 0) continue;
    if (target.classList.contains("js-plotly-plot")) Plotly.Plots.resize(target);
    else draw(target);
  }
});
for (const chart of document.querySelectorAll(".chart")) sizes.observe(chart);

// A link to a model opens its details.
addEventListener("hashchange", () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
});
