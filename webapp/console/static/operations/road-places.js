// The positions of the pipeline's parts: side by side if there is room, else one below the other.

const UPRIGHT_BELOW = 880;
const NODE = { width: 164, height: 78 };
// Half of the widest line, which would otherwise be cut off.
const EDGE = 2;
const ORDER = ["client", "redis", "postgresql", "clickhouse"];

export function placesOf(width) {
  return width < UPRIGHT_BELOW ? upright(width) : level(width);
}

function level(width) {
  const top = 118;
  const gap = (width - 2 * EDGE - ORDER.length * NODE.width) / (ORDER.length - 1);
  const nodes = {};
  ORDER.forEach((name, number) => {
    nodes[name] = { x: EDGE + number * (NODE.width + gap), y: top, ...NODE };
  });
  const middle = top + NODE.height / 2;
  const between = (from, to) => {
    const [start, end] = [nodes[from].x + NODE.width + 4, nodes[to].x - 5];
    const center = (start + end) / 2;
    return {
      path: `M${start} ${middle}H${end}`,
      head: headAt(end, middle, "right"),
      sign: { x: center, y: middle },
      label: { x: center, y: middle - 51, anchor: "middle" },
    };
  };
  const over = (to, height, startShift) => {
    const start = EDGE + NODE.width / 2 + startShift;
    const end = nodes[to].x + NODE.width / 2;
    return {
      path: `M${start} ${top - 4}V${height + 18}q0 -18 18 -18H${end - 18}q18 0 18 18V${top - 5}`,
      head: headAt(end, top - 5, "down"),
      sign: { x: (start + end) / 2, y: height },
      label: { x: start + 26, y: height + 17, anchor: "start" },
    };
  };
  const [from, to] = [nodes.postgresql.x + NODE.width / 2, nodes.clickhouse.x + NODE.width / 2];
  const bottom = top + NODE.height;
  return {
    height: bottom + 84,
    nodes,
    isUpright: false,
    arrows: {
      detour_clickhouse: over("clickhouse", 14, -24),
      detour_postgresql: over("postgresql", 62, 24),
      acknowledge: between("client", "redis"),
      persist: between("redis", "postgresql"),
      replicate: between("postgresql", "clickhouse"),
      archive: {
        path: `M${from} ${bottom + 4}v20q0 18 18 18H${to - 18}q18 0 18 -18V${bottom + 5}`,
        head: headAt(to, bottom + 5, "up"),
        sign: { x: (from + to) / 2, y: bottom + 42 },
        label: { x: (from + to) / 2, y: bottom + 64, anchor: "middle" },
      },
    },
  };
}

function upright(width) {
  const left = 44;
  const step = NODE.height + 84;
  const nodes = {};
  ORDER.forEach((name, number) => {
    nodes[name] = { x: left, y: EDGE + number * step, width: width - left - EDGE, height: NODE.height };
  });
  const between = (from, to, x) => {
    const [start, end] = [nodes[from].y + NODE.height + 4, nodes[to].y - 5];
    return {
      path: `M${x} ${start}V${end}`,
      head: headAt(x, end, "down"),
      // Below the text of its neighbour, which may be long.
      sign: { x, y: start + 0.62 * (end - start) },
      label: { x: x + 16, y: start + 20, anchor: "start" },
    };
  };
  const beside = (to, lane) => {
    const [start, end] = [nodes.client.y + NODE.height / 2, nodes[to].y + NODE.height / 2];
    return {
      path: `M${left - 4} ${start}H${lane + 12}q-12 0 -12 12V${end - 12}q0 12 12 12H${left - 5}`,
      head: headAt(left - 5, end, "right"),
      sign: { x: lane, y: (start + end) / 2 },
      // Its text is in the box that it leads to.
      label: { x: -999, y: 0, anchor: "start" },
    };
  };
  const inner = width - left;
  return {
    height: 3 * step + NODE.height + 2 * EDGE,
    nodes,
    isUpright: true,
    arrows: {
      detour_clickhouse: beside("clickhouse", 10),
      detour_postgresql: beside("postgresql", 26),
      acknowledge: between("client", "redis", left + inner * 0.12),
      persist: between("redis", "postgresql", left + inner * 0.12),
      replicate: between("postgresql", "clickhouse", left + inner * 0.12),
      archive: between("postgresql", "clickhouse", left + inner * 0.54),
    },
  };
}

function headAt(x, y, way) {
  const turns = {
    right: `M${x} ${y}l-9 -5v10z`,
    down: `M${x} ${y}l-5 -9h10z`,
    up: `M${x} ${y}l-5 9h10z`,
  };
  return turns[way];
}
