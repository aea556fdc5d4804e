"use strict";
// A network's trajectories, fixed points and paths in three dimensions, on a canvas: drag turns, wheel or pinch zooms,
// a pointer over a point, or the key n, tells what it is. Data: the JSON of scene.py in <script id="scenes">.
(() => {
  const canvas = document.getElementById("view");
  if (!canvas) return;
  const scenes = JSON.parse(document.getElementById("scenes").textContent);
  const pen = canvas.getContext("2d");
  const tip = document.getElementById("tip");
  const plane = document.getElementById("plane");
  const START = { yaw: -0.6, pitch: 0.4, zoom: 1 };
  const REACH = 14; // pixels around a point that count as over it
  const LISTED = 6; // eigenvalues told in words; all that the page has are drawn
  const STILL = 4; // pixels that a finger moves by without meaning to
  const view = { ...START, scene: 0, hover: -1 };
  let told = -1; // the point that keys last went to
  const pointers = new Map();
  let drawn = []; // points as last drawn: x, y on the canvas, index
  let asked = false;

  const option = (name) => document.getElementById(`show-${name}`).checked;
  const redraw = () => {
    if (!asked) {
      asked = true;
      requestAnimationFrame(() => { asked = false; draw(); });
    }
  };

  function frame() {
    const ratio = window.devicePixelRatio || 1;
    const box = canvas.getBoundingClientRect();
    if (canvas.width !== Math.round(box.width * ratio) || canvas.height !== Math.round(box.height * ratio)) {
      canvas.width = Math.round(box.width * ratio);
      canvas.height = Math.round(box.height * ratio);
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    return { width: box.width, height: box.height };
  }

  function projector(size) {
    const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
    const scale = 0.36 * Math.min(size.width, size.height) * view.zoom / 1000; // scenes reach from -1000 to 1000
    return (x, y, z) => {
      const right = cy * x - sy * y, away = sy * x + cy * y;
      const up = cp * z + sp * away, near = sp * z - cp * away;
      const closer = 1 / (1 - near / 9000); // a little perspective
      return [size.width / 2 + scale * right * closer, size.height / 2 - scale * up * closer, near];
    };
  }

  // Trajectories and paths as strokes: a depth, a colour, and places to draw a line through.
  function strokes(scene, project) {
    const found = [];
    const add = (layer, flat, start, end, colour, width, alpha) => {
      const line = [];
      let depth = 0;
      for (let i = start; i <= end; i++) {
        const place = project(flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]);
        line.push(place);
        depth += place[2];
      }
      found.push({ layer, line, colour, width, alpha, depth: depth / line.length });
    };
    if (option("trajectories")) {
      for (const { at, runs } of scene.trajectories) {
        const last = at.length / 3 - 1;
        runs.forEach(([start, colour], k) => {
          const end = k + 1 < runs.length ? runs[k + 1][0] : last;
          for (let i = start; i < end; i += 4) add(0, at, i, Math.min(i + 4, end), scene.palette[colour], 1.1, 0.6);
        });
      }
    }
    if (option("paths")) {
      const sources = new Set(scene.paths.map((path) => path.source));
      for (const { at, source } of scene.paths) {
        const colour = scene.colours[Math.min(scene.points[source].unstable, scene.colours.length - 1)];
        const last = at.length / 3 - 1;
        const lit = !sources.has(view.hover) || view.hover === source;
        for (let i = 0; i < last; i += 4) add(1, at, i, Math.min(i + 4, last), colour, lit ? 1.8 : 1, lit ? 0.9 : 0.15);
      }
    }
    return found;
  }

  function drawBox(scene, project) {
    const [a, b, c] = scene.box;
    const corner = (i) => project((i & 1 ? 1 : -1) * a, (i & 2 ? 1 : -1) * b, (i & 4 ? 1 : -1) * c);
    pen.strokeStyle = "#d4d4d4";
    pen.lineWidth = 1;
    for (let i = 0; i < 8; i++) {
      for (const bit of [1, 2, 4]) {
        if (i & bit) continue;
        const [from, to] = [corner(i), corner(i | bit)];
        pen.beginPath();
        pen.moveTo(from[0], from[1]);
        pen.lineTo(to[0], to[1]);
        pen.stroke();
      }
    }
    pen.fillStyle = "#666";
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "center";
    [[0, -b, -c], [a, 0, -c], [-a, -b, 0]].forEach((place, k) => {
      const [x, y] = project(...place.map((v) => 1.12 * v));
      pen.fillText(`PC${k + 1}`, x, y + 4);
    });
  }

  const SHAPES = [
    (x, y, r) => pen.arc(x, y, r, 0, 2 * Math.PI),
    (x, y, r) => polygon(x, y, 1.25 * r, 3, -Math.PI / 2),
    (x, y, r) => polygon(x, y, 1.2 * r, 4, Math.PI / 4),
    (x, y, r) => polygon(x, y, 1.3 * r, 4, 0),
    (x, y, r) => polygon(x, y, 1.2 * r, 6, 0),
  ];
  function polygon(x, y, r, sides, turn) {
    for (let k = 0; k < sides; k++) {
      const angle = turn + (2 * Math.PI * k) / sides;
      pen[k ? "lineTo" : "moveTo"](x + r * Math.cos(angle), y + r * Math.sin(angle));
    }
    pen.closePath();
  }

  function drawPoint(scene, index, [x, y, near]) {
    const point = scene.points[index];
    const kind = Math.min(point.unstable, scene.colours.length - 1);
    const small = scene.points.length > 80 ? 0.65 : 1;
    const radius = small * (5.2 + near / 900) * (index === view.hover ? 1.5 : 1);
    pen.beginPath();
    SHAPES[kind](x, y, radius);
    pen.fillStyle = scene.colours[kind];
    pen.strokeStyle = index === view.hover ? "#000" : "#fff";
    pen.lineWidth = index === view.hover ? 2 : 0.8;
    pen.fill();
    pen.stroke();
  }

  function draw() {
    const scene = scenes[view.scene], size = frame(), project = projector(size);
    pen.clearRect(0, 0, size.width, size.height);
    drawBox(scene, project);
    const things = strokes(scene, project);
    drawn = [];
    if (option("points")) {
      scene.points.forEach((point, index) => {
        const place = project(...point.at);
        drawn.push([place[0], place[1], index]);
        things.push({ layer: 1, depth: place[2] + 40, place, index });
      });
    }
    things.sort((a, b) => a.layer - b.layer || a.depth - b.depth); // trajectories hide no point
    pen.lineCap = pen.lineJoin = "round";
    for (const thing of things) {
      if (thing.place) {
        pen.globalAlpha = 1;
        drawPoint(scene, thing.index, thing.place);
        continue;
      }
      pen.globalAlpha = thing.alpha * Math.min(1, Math.max(0.25, 0.65 + thing.depth / 3000));
      pen.strokeStyle = thing.colour;
      pen.lineWidth = thing.width;
      pen.beginPath();
      thing.line.forEach(([x, y], k) => pen[k ? "lineTo" : "moveTo"](x, y));
      pen.stroke();
    }
    pen.globalAlpha = 1;
    Object.assign(canvas.dataset, { scene: view.scene, yaw: view.yaw.toFixed(3), pitch: view.pitch.toFixed(3) });
    Object.assign(canvas.dataset, { zoom: view.zoom.toFixed(3), hover: view.hover });
  }

  // ---------------------------------------------------------------------------------- what a point is

  function describe(scene, point) {
    const words = ["stable", "1 unstable dimension"][point.unstable] || `${point.unstable} unstable dimensions`;
    const status = { slow: "slow point, ", degenerate: "degenerate; its linearization may not tell: " };
    const lines = [`${status[point.status] || ""}${words}`];
    if (scene.held.length > 1) lines.push(`${scene.held_name} ${scene.held[point.condition]}`);
    lines.push(`output ${point.readout.join(", ")}`, `speed |F(h) - h| ${point.speed}`, "largest eigenvalues:");
    return lines.concat(point.eigenvalues.slice(0, LISTED).map((value) => "  " + wordsOf(value)));
  }

  function wordsOf([re, im]) {
    if (!im) return re.toFixed(4);
    return `${re.toFixed(4)} ${im < 0 ? "-" : "+"} ${Math.abs(im).toFixed(4)}i, magnitude ${Math.hypot(re, im).toFixed(4)}`;
  }

  function drawPlane(point) {
    const pencil = plane.getContext("2d"), ratio = window.devicePixelRatio || 1, side = 150;
    plane.width = plane.height = side * ratio;
    pencil.setTransform(ratio, 0, 0, ratio, 0, 0);
    const reach = Math.max(1.15, ...point.eigenvalues.map(([re, im]) => 1.1 * Math.hypot(re, im)));
    const at = (v) => (side / 2) * (v / reach);
    pencil.strokeStyle = "#bbb";
    pencil.beginPath();
    pencil.moveTo(0, side / 2);
    pencil.lineTo(side, side / 2);
    pencil.moveTo(side / 2, 0);
    pencil.lineTo(side / 2, side);
    pencil.stroke();
    pencil.beginPath();
    pencil.arc(side / 2, side / 2, at(1), 0, 2 * Math.PI);
    pencil.strokeStyle = "#666";
    pencil.setLineDash([3, 3]);
    pencil.stroke();
    for (const [re, im] of point.eigenvalues) {
      pencil.beginPath();
      pencil.arc(side / 2 + at(re), side / 2 - at(im), 2.4, 0, 2 * Math.PI);
      pencil.fillStyle = Math.hypot(re, im) > 1 ? "#d62728" : "#0072b2";
      pencil.fill();
    }
  }

  function hover(x, y) {
    let best = -1, least = REACH * REACH;
    for (const [px, py, index] of drawn) {
      const away = (px - x) ** 2 + (py - y) ** 2;
      if (away < least) [best, least] = [index, away];
    }
    tell(best, x, y);
  }

  // What there is to say of a point, beside a place; of none (-1), nothing.
  function tell(best, x, y) {
    if (best !== view.hover) {
      view.hover = best;
      redraw();
    }
    tip.hidden = best < 0;
    if (best < 0) return;
    const scene = scenes[view.scene], point = scene.points[best];
    document.getElementById("tip-text").textContent = describe(scene, point).join("\n");
    drawPlane(point);
    const box = canvas.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 16, box.width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 16, box.height - tip.offsetHeight - 4))}px`;
  }

  // The next point that is in the picture, or the one before, round and round.
  function step(by) {
    const box = canvas.getBoundingClientRect();
    const seen = drawn.filter(([x, y]) => x >= 0 && y >= 0 && x <= box.width && y <= box.height);
    if (!seen.length) return;
    const after = by > 0 ? seen.find((place) => place[2] > told) : seen.findLast((place) => place[2] < told);
    const [x, y, index] = after || seen[by > 0 ? 0 : seen.length - 1];
    tell(index, x, y);
    told = index;
    document.getElementById("told").textContent = document.getElementById("tip-text").textContent;
  }

  // ---------------------------------------------------------------------------------- pointers and keys

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const leave = () => { // what was under the pointer has moved away
    view.hover = -1;
    tip.hidden = true;
  };
  const zoomBy = (factor) => {
    leave();
    view.zoom = Math.min(12, Math.max(0.3, view.zoom * factor));
    redraw();
  };
  const turn = (yaw, pitch) => {
    leave();
    view.yaw += yaw;
    view.pitch = Math.min(Math.PI / 2, Math.max(-Math.PI / 2, view.pitch + pitch));
    redraw();
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    if (event.pointerType !== "mouse") hover(...place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event), before = pointers.get(event.pointerId);
    if (!before) return hover(...now);
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const span = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]);
      if (span(before) > 0) zoomBy(span(now) / span(before));
    } else if (Math.hypot(now[0] - before[0], now[1] - before[1]) < STILL && view.hover >= 0) {
      return; // it told of a point: a tap
    } else {
      turn((now[0] - before[0]) * 0.008, (now[1] - before[1]) * 0.008);
    }
    pointers.set(event.pointerId, now);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hover(-1e9, -1e9); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-0.0012 * Math.max(-240, Math.min(240, event.deltaY))));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => turn(-0.1, 0), ArrowRight: () => turn(0.1, 0),
      ArrowUp: () => turn(0, -0.1), ArrowDown: () => turn(0, 0.1),
      "+": () => zoomBy(1.15), "=": () => zoomBy(1.15), "-": () => zoomBy(1 / 1.15), 0: reset,
      n: () => step(1), p: () => step(-1), Escape: () => tell(-1),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return; // the browser's
    event.preventDefault();
    keys[event.key]();
  });
  function reset() {
    leave();
    Object.assign(view, START);
    redraw();
  }
  canvas.addEventListener("dblclick", reset);
  document.getElementById("reset").addEventListener("click", reset);
  document.getElementById("closer").addEventListener("click", () => zoomBy(1.25));
  document.getElementById("farther").addEventListener("click", () => zoomBy(0.8));
  for (const name of ["trajectories", "paths", "points"]) {
    document.getElementById(`show-${name}`).addEventListener("change", redraw);
  }

  const chooser = document.getElementById("scene");
  function choose(index) {
    leave();
    told = -1;
    view.scene = index;
    document.getElementById("about").textContent = scenes[index].about;
    const shade = scenes[index].shade;
    document.getElementById("shade-what").textContent = shade.what;
    document.getElementById("shade-low").textContent = shade.ends[0];
    document.getElementById("shade-high").textContent = shade.ends[1];
    const colours = shade.colours.length > 2 ? shade.colours : shade.colours.map((c, i) => `${c} ${50 * i}% ${50 * i + 50}%`);
    document.getElementById("shade-bar").style.background = `linear-gradient(to right, ${colours.join(", ")})`;
    document.getElementById("paths-choice").hidden = !scenes[index].paths.length;
    redraw();
  }
  chooser.addEventListener("change", () => choose(Number(chooser.value)));
  new ResizeObserver(redraw).observe(canvas);
  choose(0);
})();
