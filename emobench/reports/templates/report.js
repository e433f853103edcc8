"use strict";
// Draws the charts, filters and sorts the tables. Texts from data are set as text only, never as markup.
(function () {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  // Plotly's buttons would lie over the charts, and one of them leads to a site.
  const options = { displayModeBar: false, displaylogo: false, responsive: true };

  function draw(place) {
    if (place.dataset.drawn) return;
    place.dataset.drawn = "yes";
    const chart = charts[Number(place.dataset.chart)];
    Plotly.newPlot(place, chart.data, chart.layout, options);
  }

  const places = Array.from(document.querySelectorAll("[data-chart]"));
  places.forEach(function (place) {
    place.style.height = charts[Number(place.dataset.chart)].height + "px";
  });
  // A page of many charts opens at once: each is drawn when it comes near.
  const seen = new IntersectionObserver(function (entries) {
    entries.forEach(function (entry) {
      if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
    });
  }, { rootMargin: "500px" });
  places.forEach(function (place) { seen.observe(place); });
  window.addEventListener("beforeprint", function () { places.forEach(draw); });

  const input = document.getElementById("filter");
  const count = document.getElementById("count");
  const rows = Array.from(document.querySelectorAll("table.cases tbody tr"));
  const texts = rows.map(function (row) { return (row.textContent + " " + row.dataset.id).toLowerCase(); });
  function filter() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach(function (row, index) {
      const fits = words.every(function (word) { return texts[index].includes(word); });
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    count.textContent = shown + " of " + rows.length + " cases";
  }
  if (input) { input.addEventListener("input", filter); filter(); }

  function value(row, column) {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
  }
  function sort(head) {
    const table = head.closest("table");
    const down = head.getAttribute("aria-sort") === "ascending";
    const column = head.cellIndex;
    const numeric = head.classList.contains("n");
    table.querySelectorAll("th[aria-sort]").forEach(function (other) { other.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    const sorted = Array.from(table.tBodies[0].rows).sort(function (first, second) {
      if (!numeric) {
        return sign * first.cells[column].textContent.localeCompare(second.cells[column].textContent, "en", { numeric: true });
      }
      const one = value(first, column), two = value(second, column);
      // What has no value comes last either way.
      if (one === null || two === null) return (one === null) - (two === null);
      return sign * (one - two);
    });
    table.tBodies[0].append.apply(table.tBodies[0], sorted);
  }
  document.querySelectorAll("table.cases thead th").forEach(function (head) {
    head.querySelector("button").addEventListener("click", function () { sort(head); });
  });
  document.documentElement.dataset.ready = "yes";
})();
