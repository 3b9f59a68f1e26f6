// ---- memory
function memory() {
  const box = section('memory', 'Memory', 'The arena over the kernels of a program: each bar is a value, as wide as it lives and as high as it is large. ' +
    'Bars may share bytes only if they are never alive together.');
  const bar = add(box, 'div'), body = add(box, 'div');
  tabs(bar, data.programs.map(p => p.program), name => {
    body.innerHTML = '';
    const a = data.programs.find(p => p.program === name).arena;
    add(body, 'p', { class: 'note' }, `${bytes(a.bytes)} of arena, ${bytes(a.bytes_per_position)} more for each position of the context, ${bytes(a.scratch_bytes)} of scratch for each thread`);
    chart(body, w => arena(a, w));
  })(data.programs[0].program);
}

function arena(a, w) {
  const left = 62, top = 6, h = 280, bottom = 26;
  const x = linear([0, a.kernels.length], [left, w - 2]), y = linear([0, Math.max(1, a.bytes)], [top + h, top]);
  const out = ticks(a.bytes, 5).map(v => `<line class="grid" x1="${left}" x2="${w}" y1="${y(v)}" y2="${y(v)}"/><text class="soft" x="${left - 8}" y="${y(v) + 4}" text-anchor="end">${bytes(v)}</text>`);
  const group = k => k.startsWith('layers.') ? k.split('.').slice(0, 2).join('.') : k.split('.')[0];
  const groups = [];
  a.kernels.forEach((k, i) => {
    const last = groups[groups.length - 1];
    if (last && last.name === group(k)) last.end = i + 1; else groups.push({ name: group(k), start: i, end: i + 1 });
  });
  groups.forEach((g, n) => {
    const [x0, x1] = [x(g.start), x(g.end)], room = Math.floor((x1 - x0) / 6.8);
    if (n % 2 === 0) out.unshift(`<rect x="${x0}" y="${top}" width="${x1 - x0}" height="${h}" style="fill:var(--band)"/>`);
    if (room >= 4) out.push(`<text class="soft" x="${(x0 + x1) / 2}" y="${top + h + 18}" text-anchor="middle">${escape(short(g.name.replace('layers.', ''), room))}</text>`);
  });
  const names = [...new Set(a.buffers.map(d => d.name.split('.').pop()))];
  a.buffers.forEach(d => {
    const name = d.name.split('.').pop(), x0 = x(d.first) + 0.5, wide = Math.max(1, x(d.last + 1) - x(d.first) - 1);
    const y0 = y(d.offset + d.bytes), tall = Math.max(0.8, y(d.offset) - y0 - 0.6), room = Math.floor((wide - 8) / 6.4);
    const about = `<b>${escape(d.name)}</b>${bytes(d.bytes)} at byte ${d.offset}<br><small>${escape(a.kernels[d.first])} … ${escape(a.kernels[d.last])}${d.is_carried ? '; handed from block to block' : ''}</small>`;
    out.push(`<rect class="${d.is_carried ? 'fill' : 'hue fill'}" style="--h:${hueOf(names.indexOf(name))}" fill-opacity="${d.is_carried ? 0.45 : 0.72}" x="${x0}" y="${y0}" width="${wide}" height="${tall}" rx="2.5" data-tip="${escape(about)}"/>`);
    if (room >= 3 && tall > 14) out.push(`<text class="in" x="${x0 + 5}" y="${y0 + tall / 2 + 4}">${escape(short(name, room))}</text>`);
  });
  return `<svg height="${top + h + bottom}">${out.join('')}</svg>`;
}

// ---- bars: { label, value, text, hue, low, high, tip }
function bars(w, rows, options = {}) {
  const longest = Math.max(...rows.map(r => r.label.length)), texts = Math.max(...rows.map(r => r.text.length));
  const left = Math.min(w * 0.45, longest * 6.9 + 14), right = texts * 7 + 14, row = 27;
  const x = linear([0, Math.max(...rows.map(r => Math.max(r.high || 0, r.value))) || 1], [left, w - right]);
  const out = rows.map((r, i) => {
    const y = i * row, end = Math.max(r.high || 0, r.value);
    const whisker = r.high ? `<path class="whisker" d="M${x(r.low)},${y + 12}H${x(r.high)}M${x(r.low)},${y + 8}v8M${x(r.high)},${y + 8}v8"/>` : '';
    return `<g${r.tip ? ` data-tip="${escape(r.tip)}"` : ''}><text x="${left - 10}" y="${y + 16}" text-anchor="end">${escape(short(r.label, Math.floor((left - 10) / 6.6)))}</text>` +
      `<rect class="${r.hue === null ? '' : 'hue '}fill" style="--h:${r.hue}" x="${left}" y="${y + 4}" width="${Math.max(1, x(r.value) - left)}" height="${row - 11}" rx="3.5" fill-opacity=".8"/>${whisker}` +
      `<text class="soft" x="${x(end) + 8}" y="${y + 16}">${escape(r.text)}</text></g>`;
  });
  if (options.mark !== undefined) out.push(`<line class="mark" x1="${x(options.mark)}" x2="${x(options.mark)}" y1="0" y2="${rows.length * row}"/>`);
  return `<svg height="${rows.length * row + 2}">${out.join('')}</svg>`;
}

function state() {
  const s = data.summary.state;
  const box = section('state', 'State', 'What a sequence keeps for every token, next to multi-head attention of the same shape, and how it grows with the context.');
  const two = add(box, 'div', { class: 'two' });
  const [left, right] = [add(two, 'div'), add(two, 'div')];
  add(left, 'h3', {}, 'Bytes a token');
  const bar = (label, value, hue) => ({ label, value, text: bytes(value), hue });
  chart(left, w => bars(w, [bar('this model', s.bytes_per_token, 155), bar('multi-head', s.mha_bytes_per_token, null)]));
  add(right, 'h3', {}, 'Bytes at context lengths');
  chart(right, w => bars(w, s.at.map(a => bar(a.context.toLocaleString('en'), a.bytes, 210))));
}

// ---- roofline
function roofline() {
  const m = data.summary.machine;
  if (!m) return;
  const said = `${digits(m.gbps)} GB/s and ${digits(m.gflops)} GFLOP/s`;
  const box = section('roofline', 'Roofline', (data.is_assumed ? `A machine of ${said} is assumed. ` : `Measured on this machine: ${said}. `) +
    (data.profile ? 'Kernels stand at the speed the profile measured (medians).' : 'Kernels stand at the most that these allow; with a profile, at their measured speed.') +
    ' Kernels that would cover each other share a dot, whose area is their share of a step\'s bytes: weights, state and activations.');
  const bar = add(box, 'div'), body = add(box, 'div');
  tabs(bar, data.programs.map(p => p.program), name => {
    body.innerHTML = '';
    const program = data.programs.find(p => p.program === name), { tokens, depth } = program.step;
    add(body, 'p', { class: 'note' }, `A step of ${tokens} ${tokens === 1 ? 'token' : 'tokens'} at a depth of ${depth}`);
    const groups = dots(program, m);
    if (!groups.length) return;
    chart(body, w => roof(groups, m, w));
    table(body, groups, m);
  })(data.programs[0].program);
}

// Nanoseconds of one run of a kernel by the profile: the slowest thread's median, which what else ran on the machine does not move.
function measured(program, kernel) {
  const p = data.profile && data.profile.programs.find(q => q.program === program.program && q.steps > 0);
  const k = p && p.kernels.find(q => q.at === kernel.at && q.op === kernel.op);
  return k && k.calls ? Math.max(...k.median_ns) : null;
}

const shortName = at => at.replace(/^layers\.[^.]*\.(\d+\.)?/, '');
const RADIUS = [7, 21];

// Kernels as dots; those that would overlap on a chart of usual size are one.
function dots(program, m) {
  const all = program.kernels.filter(k => k.cost.flops > 0 && kernelBytes(k.cost) > 0).map(k => {
    const x = k.cost.flops / kernelBytes(k.cost), ns = measured(program, k), most = Math.min(m.gflops, x * m.gbps);
    return { kernels: [{ k, ns }], x, y: ns ? k.cost.flops / ns : most, share: kernelBytes(k.cost) * k.times };
  });
  const largest = Math.max(...all.map(d => d.share));
  const radius = d => RADIUS[0] + (RADIUS[1] - RADIUS[0]) * Math.sqrt(Math.min(1, d.share / largest));
  const scale = frame(all, m, 900);
  const apart = (a, b) => Math.hypot(scale.x(a.x) - scale.x(b.x), scale.y(a.y) - scale.y(b.y)) - radius(a) - radius(b);
  const groups = [];
  all.sort((a, b) => b.share - a.share).forEach(d => {
    const near = groups.find(g => apart(g, d) < 2);
    if (!near) return groups.push({ ...d });
    near.kernels = near.kernels.concat(d.kernels);
    near.share += d.share;
  });
  groups.sort((a, b) => a.x - b.x || b.share - a.share);
  groups.forEach((g, i) => { g.no = i + 1; g.hue = hueOf(i); g.radius = radius(g); });
  return groups;
}

function frame(all, m, w) {
  const h = 380, left = 46, bottom = 40, right = 14, top = 18, ridge = m.gflops / m.gbps;
  const low = Math.min(0.1, ...all.map(d => d.x)) / 2, high = Math.max(ridge * 5, ...all.map(d => d.x)) * 2;
  const floor = Math.min(m.gbps * 0.1, ...all.map(d => d.y)) / 2, ceiling = Math.max(m.gflops, ...all.map(d => d.y)) * 2.2;
  return { w, h, left, bottom, right, top, ridge, low, high, floor, ceiling,
    x: logarithmic([low, high], [left, w - right]), y: logarithmic([floor, ceiling], [h - bottom, top]) };
}

function roof(groups, m, w) {
  const f = frame(groups, m, w), out = [];
  powers(f.floor, f.ceiling).forEach(v => out.push(`<line class="grid" x1="${f.left}" x2="${w - f.right}" y1="${f.y(v)}" y2="${f.y(v)}"/><text class="soft" x="${f.left - 8}" y="${f.y(v) + 4}" text-anchor="end">${tickText(v)}</text>`));
  powers(f.low, f.high).forEach(v => out.push(`<line class="grid" x1="${f.x(v)}" x2="${f.x(v)}" y1="${f.top}" y2="${f.h - f.bottom}"/><text class="soft" x="${f.x(v)}" y="${f.h - f.bottom + 17}" text-anchor="middle">${tickText(v)}</text>`));
  out.push(`<text class="soft" x="${w - f.right}" y="${f.h - 4}" text-anchor="end">operations a byte</text><text class="soft" x="${f.left + 6}" y="${f.top + 4}">GFLOP/s</text>`);
  const start = Math.max(f.low, f.floor / m.gbps);
  const line = [[start, start * m.gbps], [f.ridge, m.gflops], [f.high, m.gflops]].map(p => `${f.x(p[0])},${f.y(p[1])}`);
  out.push(`<polyline class="roof" points="${line.join(' ')}"/>`);
  const taken = groups.map(g => ({ x0: f.x(g.x) - g.radius, x1: f.x(g.x) + g.radius, y0: f.y(g.y) - g.radius, y1: f.y(g.y) + g.radius }));
  // Names keep off the roof as well.
  for (let v = Math.max(f.low, f.floor / m.gbps); v < f.high; v *= 1.04) {
    const [x, y] = [f.x(v), f.y(Math.min(m.gflops, v * m.gbps))];
    taken.push({ x0: x - 3, x1: x + 3, y0: y - 2, y1: y + 2 });
  }
  const labels = groups.map(g => label(g, f, taken));
  groups.forEach(g => {
    const about = g.kernels.map(({ k, ns }) => `<b>${escape(k.at)} (${escape(k.op)})</b>${k.times} times a step; ${flops(k.cost.flops)}, ${bytes(kernelBytes(k.cost))}${ns ? `; ${time(ns)}` : ''}`).join('');
    out.push(`<circle class="hue fill" style="--h:${g.hue}" cx="${f.x(g.x)}" cy="${f.y(g.y)}" r="${g.radius}" fill-opacity=".85" data-tip="${escape(about)}"/>` +
      `<text x="${f.x(g.x)}" y="${f.y(g.y) + 4}" text-anchor="middle" style="fill:var(--paper);font-size:11px;pointer-events:none;font-weight:600">${g.no}</text>`);
  });
  return `<svg height="${f.h}">${out.join('')}${labels.join('')}</svg>`;
}

// The name beside a dot, where there is room; its number is in the table in any case.
function label(g, f, taken) {
  const name = shortName(g.kernels[0].k.at), text = g.kernels.length > 1 ? `${name} +${g.kernels.length - 1}` : name;
  const wide = text.length * 6.9 + 4, x = f.x(g.x), y = f.y(g.y), r = g.radius + 4;
  const tries = [[x + r, y], [x - r - wide, y], [x + r * 0.8, y + r], [x - wide - r * 0.8, y + r], [x - wide / 2, y + r + 8], [x - wide / 2, y - r - 8]];
  for (const [x0, mid] of tries) {
    const box = { x0, x1: x0 + wide, y0: mid - 8, y1: mid + 8 };
    const inside = box.x0 > f.left && box.x1 < f.w - 2 && box.y0 > f.top && box.y1 < f.h - f.bottom;
    if (inside && taken.every(t => box.x1 < t.x0 || box.x0 > t.x1 || box.y1 < t.y0 || box.y0 > t.y1)) {
      taken.push(box);
      return `<text class="mono" x="${x0}" y="${mid + 4}">${escape(text)}</text>`;
    }
  }
  return '';
}

function table(parent, groups, m) {
  const timed = groups.some(g => g.kernels.some(k => k.ns));
  const head = ['', 'kernel', 'times', 'bytes', 'op/byte', 'GFLOP/s'].concat(timed ? ['median', 'of the roof'] : []);
  const rows = groups.flatMap(g => g.kernels.map(({ k, ns }, i) => {
    const x = k.cost.flops / kernelBytes(k.cost), most = Math.min(m.gflops, x * m.gbps), speed = ns ? k.cost.flops / ns : most;
    const cells = [k.times, bytes(kernelBytes(k.cost)), digits(x), digits(speed)].concat(timed ? [ns ? time(ns) : '–', ns ? `${(100 * speed / most).toFixed(0)} %` : '–'] : []);
    return `<tr><td>${i === 0 ? `<span class="dotno hue" style="--h:${g.hue}">${g.no}</span>` : ''}</td><td><code>${escape(k.at.replace(/^layers\./, ''))}</code></td>${cells.map(c => `<td class="n">${c}</td>`).join('')}</tr>`;
  }));
  add(add(parent, 'div', { class: 'scroll' }), 'table', {}, `<tr>${head.map((t, i) => `<th${i > 1 ? ' class="n"' : ''}>${t}</th>`).join('')}</tr>${rows.join('')}`);
}
