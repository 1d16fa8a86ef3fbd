(() => {
  const SIZE = 100000, MINUTE = 60, HOUR = 3600, DAY = 86400;
  const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR];
  for (let days = 1; days < 1e7; days *= 10) STEPS.push(days * DAY, 2 * days * DAY, 5 * days * DAY);
  const short = (value, digits = 3) => String(Number(value.toPrecision(digits)));
  const round = step => {
    const power = 10 ** Math.floor(Math.log10(step));
    return [1, 2, 5, 10].map(factor => factor * power).find(each => each >= step * (1 - 1e-9));
  };
  const scaled = (value, prefixes) => {
    let place = 0;
    while (place + 1 < prefixes.length && Math.abs(Number(value.toPrecision(3))) >= 1000 ** (place + 1)) place++;
    return [short(value / 1000 ** place), prefixes[place]];
  };
  const forms = {
    percent: value => short(100 * value) + "%",
    share: value => (100 * value).toFixed(1) + "%",
    count: value => scaled(value, ["", "K", "M", "B", "T", "Q"]).join(""),
    clock: value => Math.round(value / 1e6) + " MHz",
    flops: value => scaled(value, ["", "k", "M", "G", "T", "P", "E", "Z", "Y", "R"]).join(" ") + "FLOPs",
    usd: value => "$" + value.toLocaleString("en-US", value < 1000 ? { minimumFractionDigits: 2, maximumFractionDigits: 2 } : { maximumFractionDigits: 0 }),
    plain: value => short(value, 4),
  };
  const timeWords = seconds => {
    let left = Math.round(seconds);
    const words = [];
    for (const [size, unit] of [[DAY, "d"], [HOUR, "h"], [MINUTE, "m"]]) {
      if (left >= size) words.push(Math.floor(left / size) + unit);
      left %= size;
    }
    if (left) words.push(left + "s");
    return words.join(" ") || "0";
  };
  forms.time = timeWords;

  class Chart {
    constructor(figure) {
      this.plot = figure.querySelector(".plot");
      this.svg = this.plot.querySelector("svg");
      this.at = figure.querySelector(".at");
      const { form, low, high, until, across } = figure.dataset;
      this.across = across; this.form = forms[form]; this.low = Number(low); this.high = Number(high); this.until = Number(until);
      const outputs = figure.querySelectorAll(".key output");
      this.lines = [...this.svg.querySelectorAll(".line")].map((path, place) => ({
        output: outputs[place],
        points: [...path.getAttribute("d").matchAll(/[ML](-?\d+) (-?\d+)/g)].map(found => [Number(found[1]), Number(found[2])]),
        isStraight: path.classList.contains("dashed"),
      }));
      this.bands = [...this.svg.querySelectorAll(".slow-stretch")].map(band => {
        const [, start, width] = band.getAttribute("d").match(/M(-?\d+) 0h(\d+)/);
        return [Number(start), Number(width), band.textContent];
      });
      this.notes = [...this.plot.querySelectorAll(".note")].map(note => [note, parseFloat(note.style.left) * SIZE / 100]);
      this.cursor = this.add("div", "cursor"); this.chosen = this.add("div", "chosen");
      this.cursor.hidden = this.chosen.hidden = true;
    }
    add(tag, name) {
      const element = document.createElement(tag);
      element.className = name;
      this.plot.append(element);
      return element;
    }
    value(line, x, reach) {
      const points = line.points, after = points.findIndex(point => point[0] >= x);
      let y;
      if (line.isStraight) {
        if (x < points[0][0] || after < 1) return after === 0 && x === points[0][0] ? this.value({ points: [points[0]] }, x, reach) : "";
        const [[x0, y0], [x1, y1]] = [points[after - 1], points[after]];
        y = y0 + (y1 - y0) * (x - x0) / (x1 - x0);
      } else {
        const near = [points[after < 0 ? points.length - 1 : after], points[Math.max(after - 1, 0)]];
        const [found] = near.sort((one, other) => Math.abs(one[0] - x) - Math.abs(other[0] - x));
        if (Math.abs(found[0] - x) > reach) return "";
        y = found[1];
      }
      return this.form(this.low + (1 - y / SIZE) * (this.high - this.low));
    }
    show(x, from, to) {
      this.cursor.hidden = x === null;
      this.at.textContent = x === null ? "" : "at " + forms[this.across](x / SIZE * this.until);
      if (x !== null) this.cursor.style.left = 100 * (x - from) / (to - from) + "%";
      for (const line of this.lines) line.output.textContent = x === null ? "" : this.value(line, x, (to - from) / 50);
    }
    words(x, from, to) {
      const near = this.notes.filter(([, at]) => Math.abs(at - x) < (to - from) / 100).map(([note]) => note.title);
      return [...near, ...this.bands.filter(([at, width]) => at <= x && x <= at + width).map(([, , words]) => words)];
    }
    zoom(from, to) {
      this.svg.setAttribute("viewBox", `${from} 0 ${to - from} ${SIZE}`);
      for (const [note, at] of this.notes) {
        note.style.left = 100 * (at - from) / (to - from) + "%";
        note.hidden = at < from || at > to;
      }
      this.plot.querySelectorAll("i.x").forEach(tick => tick.remove());
      const start = from / SIZE * this.until, end = to / SIZE * this.until;
      const least = (end - start) / 8;
      const step = this.across === "time" ? STEPS.find(each => each >= least) || end - start : round(least);
      for (let place = Math.ceil(start / step - 1e-9); place * step <= end; place++) {
        const at = place * step, tick = this.add("i", place % 2 ? "x minor" : "x"), words = document.createElement("span");
        words.textContent = forms[this.across](at);
        tick.append(words);
        tick.style.left = 100 * (at - start) / (end - start) + "%";
      }
    }
  }

  for (const stack of document.querySelectorAll(".stack")) {
    const charts = [...stack.querySelectorAll(".chart")].map(figure => new Chart(figure));
    const said = stack.querySelector(".said"), reset = stack.querySelector(".reset");
    let from = 0, to = SIZE, at = null, pressed = null;
    const show = x => {
      at = x;
      charts.forEach(chart => chart.show(x, from, to));
      said.textContent = x === null ? "" : [...new Set(charts[0].words(x, from, to))].join(" ");
    };
    const zoom = (start, end) => {
      [from, to] = [start, end];
      reset.hidden = start === 0 && end === SIZE;
      charts.forEach(chart => chart.zoom(start, end));
      show(null);
    };
    reset.addEventListener("click", () => zoom(0, SIZE));
    for (const chart of charts) {
      const place = event => {
        const box = chart.plot.getBoundingClientRect();
        return from + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * (to - from);
      };
      chart.plot.addEventListener("pointermove", event => {
        const x = place(event);
        show(x);
        if (pressed === null) return;
        chart.chosen.hidden = false;
        chart.chosen.style.left = 100 * (Math.min(x, pressed) - from) / (to - from) + "%";
        chart.chosen.style.width = 100 * Math.abs(x - pressed) / (to - from) + "%";
      });
      chart.plot.addEventListener("pointerdown", event => {
        if (event.pointerType !== "mouse" || event.button !== 0) return show(place(event));
        pressed = place(event);
        chart.plot.setPointerCapture(event.pointerId);
        event.preventDefault();
      });
      chart.plot.addEventListener("pointerup", event => {
        const x = place(event), first = pressed;
        pressed = null;
        chart.chosen.hidden = true;
        if (first !== null && Math.abs(x - first) > (to - from) / 100) zoom(Math.round(Math.min(x, first)), Math.round(Math.max(x, first)));
      });
      chart.plot.addEventListener("pointerleave", () => pressed === null && show(null));
      chart.plot.addEventListener("dblclick", () => zoom(0, SIZE));
      chart.plot.addEventListener("keydown", event => {
        const turn = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (event.key === "Escape") zoom(0, SIZE);
        if (turn === undefined) return;
        event.preventDefault();
        show(Math.min(Math.max((at === null ? (from + to) / 2 : at) + turn * (to - from) / 200, from), to));
      });
    }
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const rows = [...table.tBodies[0].rows];
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      const button = document.createElement("button");
      button.append(cell.textContent || "run"); cell.replaceChildren(button);
      let turn = -1;
      button.addEventListener("click", () => {
        const key = row => row.cells[column].dataset.key === undefined ? -Infinity : Number(row.cells[column].dataset.key);
        const words = row => row.cells[column].textContent;
        rows.sort((one, other) => turn * (key(one) === key(other) ? words(one).localeCompare(words(other)) : key(one) - key(other)));
        turn = -turn; table.tBodies[0].append(...rows);
      });
    });
  }
})();
