'use strict';
// Draws the page from the data that stands in it. Layout is dagre's, scales and zooming are D3's.
const data = JSON.parse(document.getElementById('data').textContent);
const hues = ['#4e79a7', '#f28e2b', '#59a14f', '#e15759', '#b07aa1', '#76b7b2', '#edc948', '#ff9da7', '#9c755f', '#7c93b0',
  '#d37295', '#86bc86', '#8cd17d', '#b6992d', '#499894', '#fabfd2'];
const plain = '#d5dbe3';
const hue = pass => hues[pass % hues.length];
const main = d3.select('#main');

const scaled = (n, unit) => {
  const prefixes = ['', 'k', 'M', 'G', 'T', 'P'];
  let i = 0;
  while (n >= 999.5 && i + 1 < prefixes.length) { n /= 1000; i += 1; }
  return `${i === 0 ? Math.round(n) : n.toPrecision(3)} ${prefixes[i]}${unit}`;
};
const bytes = n => scaled(n, 'B');
const flops = n => scaled(n, 'FLOP');
const count = n => n >= 1e9 ? `${(n / 1e9).toFixed(2)} B` : n >= 1e6 ? `${(n / 1e6).toFixed(1)} M` : String(n);
const perSecond = n => n >= 100 ? Math.round(n).toLocaleString('en') : n.toPrecision(3);
const escape = s => String(s).replace(/[&<>"]/g, c => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);
const kernelBytes = c => c.weight_bytes + c.state_bytes + c.activation_bytes;
const short = (text, n) => text.length > n ? `${text.slice(0, n - 1)}…` : text;

function section(id, title, text) {
  d3.select('#nav').append('a').attr('href', `#${id}`).text(title);
  const s = main.append('section').attr('id', id);
  s.append('h2').text(title);
  s.append('p').text(text);
  return s;
}

function tabs(parent, names, choose) {
  const bar = parent.append('div').attr('class', 'tabs');
  const buttons = bar.selectAll('button').data(names).join('button').attr('type', 'button').text(d => d)
    .on('click', (_, d) => pick(d));
  const pick = name => {
    buttons.attr('aria-selected', d => d === name);
    choose(name);
  };
  return pick;
}

// ---- tooltip: follows the pointer, stays inside the window
const tip = d3.select('#tip');
function hover(selection, html) {
  return selection
    .on('mousemove.tip', (event, d) => {
      tip.attr('hidden', null).html(html(d));
      const box = tip.node().getBoundingClientRect();
      const x = Math.min(event.clientX + 14, innerWidth - box.width - 8);
      const y = event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18;
      tip.style('left', `${Math.max(8, x)}px`).style('top', `${Math.max(8, y)}px`);
    })
    .on('mouseleave.tip', () => tip.attr('hidden', true));
}

const note = (chart, text) => chart.append('p').style('color', 'var(--soft)').style('margin', '0 0 8px').text(text);

// ---- overview
function overview() {
  const s = data.summary;
  d3.select('#lead').text(`${s.mechanisms[0].value} layers · hidden ${s.hidden} · vocabulary ${s.vocab} · compiled by Graver`);
  const box = section('overview', 'Overview', 'What the model is, and what one step of it costs. Nothing here depends on the weights\' values.');
  const decode = s.steps[0];
  const cards = [
    [count(s.parameters), 'parameters'],
    [count(s.active_parameters), 'read for one token'],
    [bytes(s.weight_bytes), 'of weights'],
    [bytes(s.state.bytes_per_token), 'of state a token'],
    [`${decode.kernels} / ${decode.barriers}`, 'kernels / barriers of a decode step'],
  ];
  if (decode.tokens_per_second) {
    cards.push([perSecond(decode.tokens_per_second), 'tokens/s that the machine allows']);
  }
  const card = box.append('div').attr('class', 'cards').selectAll('div').data(cards).join('div').attr('class', 'card');
  card.append('b').text(d => d[0]);
  card.append('span').text(d => d[1]);
  // The comparison below has the same rows.
  if (data.comparison) return;
  const rows = box.append('table').selectAll('tr').data(data.rows).join('tr');
  rows.append('th').text(d => d[0]);
  rows.append('td').text(d => d[1]);
}

// ---- beside another model
function comparison() {
  if (!data.comparison) return;
  const { models, rows } = data.comparison;
  const box = section('comparison', `Beside ${models[1].model}`, 'Mechanism by mechanism, the costs below; what differs stands out.');
  const table = box.append('table').attr('class', 'beside');
  table.append('tr').selectAll('th').data(['', models[0].model, models[1].model]).join('th').text(d => d);
  const row = table.selectAll('tr.r').data(rows).join('tr').attr('class', r => r.same ? 'r same' : 'r');
  row.append('th').text(r => r.name);
  row.selectAll('td').data(r => r.values).join('td').text(v => v ?? '–');
}

// ---- graphs before and after fusion
function graphs() {
  const box = section('graph', 'Graph, before and after fusion',
    'Before: each operation coloured by the pass that removes it. After: each node coloured by the last pass that changed it. ' +
    'Point at a node for shapes and bytes, click it for all of it and for what became of it; drag to move, Ctrl and the wheel to zoom.');
  const used = new Set(data.programs.flatMap(p => p.blocks).flatMap(b => b.before.nodes.concat(b.after.nodes)).flatMap(n => n.passes));
  const [bar, legend, body] = [0, 1, 2].map(() => box.append('div'));
  const pick = tabs(bar, data.programs.map(p => p.program), name => {
    body.selectAll('*').remove();
    const program = data.programs.find(p => p.program === name);
    const open = program.blocks.findIndex(b => b.place.startsWith('layers.'));
    program.blocks.forEach((b, i) => block(body, b, i === open || (i > open && b.layers > program.blocks[open].layers)));
  });
  legend.attr('class', 'legend');
  const keys = data.passes.map((p, i) => ({ ...p, i })).filter(p => used.has(p.i));
  const key = legend.selectAll('span').data(keys).join('span').attr('title', d => d.about);
  key.append('i').style('background', d => hue(d.i));
  key.append(() => document.createTextNode('')).text(d => d.name);
  legend.append('span').html(`<i style="background:${plain}"></i>as the spec has it`);
  pick(data.programs[0].program);
}

function block(parent, b, open) {
  const d = parent.append('details').attr('class', 'block');
  const head = d.append('summary');
  const kernels = g => g.nodes.filter(n => !n.is_view).length;
  head.append('b').text(b.place);
  head.append('span').text(b.layers > 1 ? `× ${b.layers} layers` : b.place.startsWith('layers.') ? '1 layer' : '');
  head.append('span').text(`${kernels(b.before)} operations → ${kernels(b.after)} kernels`);
  let drawn = false;
  const show = () => {
    if (drawn || !d.node().open) return;
    drawn = true;
    const pair = d.append('div').attr('class', 'pair');
    const detail = d.append('div').attr('class', 'detail');
    const sides = [['before', b.before], ['after', b.after]].map(([name, g]) => {
      const side = pair.append('div').attr('class', name);
      side.append('h4').text(`${name === 'before' ? 'As the spec has it' : 'After the passes'}: ${g.nodes.length} nodes`);
      return { name, g, side, layout: layout(g) };
    });
    const height = Math.min(860, Math.max(...sides.map(s => fitHeight(s.layout, s.side.node().clientWidth))));
    sides.forEach(s => graph(s, height, detail, pair));
  };
  d.node().addEventListener('toggle', show);
  if (open) { d.node().open = true; show(); }
}

function layout(g) {
  const l = new dagre.graphlib.Graph({ multigraph: true });
  l.setGraph({ rankdir: 'TB', nodesep: 18, ranksep: 26, marginx: 12, marginy: 12 });
  l.setDefaultEdgeLabel(() => ({}));
  g.nodes.forEach((n, i) => {
    const name = short(n.name, 34);
    l.setNode(String(i), { width: Math.max(84, 7.4 * n.op.length + 26, 6.5 * name.length + 26), height: n.name && n.name !== n.op ? 42 : 28 });
  });
  g.edges.forEach(([from, to], i) => l.setEdge(String(from), String(to), {}, String(i)));
  dagre.layout(l);
  return l;
}

const fitHeight = (l, width) => l.graph().height * Math.min(1, width / l.graph().width) + 10;

function graph({ name, g, side, layout: l }, height, detail, pair) {
  const width = side.node().clientWidth || 600;
  const svg = side.append('svg').attr('height', height).attr('viewBox', `0 0 ${width} ${height}`).attr('data-side', name);
  const root = svg.append('g');
  const scale = Math.min(1, width / l.graph().width, height / l.graph().height);
  const zoom = d3.zoom().scaleExtent([0.1, 4]).on('zoom', e => root.attr('transform', e.transform));
  svg.call(zoom).call(zoom.transform, d3.zoomIdentity.translate((width - l.graph().width * scale) / 2, 0).scale(scale));
  // The page scrolls with the wheel; zooming wants a key, as maps do.
  zoom.filter(e => e.type !== 'wheel' || e.ctrlKey || e.metaKey);
  const line = d3.line(p => p.x, p => p.y).curve(d3.curveBasis);
  root.selectAll('path').data(l.edges()).join('path').attr('class', 'edge').attr('d', e => line(l.edge(e).points));
  const at = i => l.node(String(i));
  const nodes = root.selectAll('g').data(g.nodes).join('g').attr('class', 'node')
    .attr('transform', (_, i) => `translate(${at(i).x - at(i).width / 2},${at(i).y - at(i).height / 2})`);
  const colour = n => n.passes.length ? hue(n.passes[n.passes.length - 1]) : plain;
  nodes.append('rect').attr('rx', 7).attr('width', (_, i) => at(i).width).attr('height', (_, i) => at(i).height)
    .attr('fill', n => d3.interpolateRgb('#fff', colour(n))(n.passes.length ? 0.3 : 0.35)).attr('stroke', colour)
    .attr('stroke-dasharray', n => n.is_view ? '4 3' : null);
  nodes.append('text').attr('class', 'op').attr('text-anchor', 'middle').attr('x', (_, i) => at(i).width / 2)
    .attr('y', n => 18).text(n => n.op);
  nodes.filter(n => n.name && n.name !== n.op).append('text').attr('class', 'at').attr('text-anchor', 'middle')
    .attr('x', n => at(g.nodes.indexOf(n)).width / 2).attr('y', 33).text(n => short(n.name, 34));
  // Small strips show what else shaped a node.
  nodes.each(function (n, i) {
    n.passes.slice(0, -1).forEach((p, k) => d3.select(this).append('rect').attr('x', 6 + 9 * k).attr('y', at(i).height - 3)
      .attr('width', 7).attr('height', 6).attr('rx', 2).attr('fill', hue(p)));
  });
  hover(nodes, n => brief(n));
  nodes.on('click', (event, n) => {
    pair.selectAll('.node').classed('selected', false).classed('dim', false);
    d3.select(event.currentTarget).classed('selected', true);
    const parts = pieces(n.name);
    const related = other => pieces(other.name).some(p => parts.includes(p));
    if (parts.length) pair.selectAll('.node').classed('dim', o => o !== n && !related(o));
    detail.attr('class', 'detail open').html(full(n, name));
  });
}

// `attention.q+k+v` covers attention.q, attention.k and attention.v.
function pieces(name) {
  const cut = name.lastIndexOf('.', name.indexOf('+') < 0 ? undefined : name.indexOf('+'));
  const prefix = cut < 0 ? '' : name.slice(0, cut + 1);
  return name ? name.slice(cut + 1).split('+').map(p => prefix + p) : [];
}

const passNames = n => n.passes.map(p => data.passes[p].name).join(', ');
function brief(n) {
  const c = n.cost;
  const lines = [`<b>${escape(n.op)} ${escape(n.name)}</b>`, `shape <code>${escape(n.shape)}</code>`];
  if (!n.is_view) lines.push(`${flops(c.flops)}; ${bytes(c.weight_bytes)} weights, ${bytes(c.state_bytes)} state, ${bytes(c.activation_bytes)} activations`);
  if (n.passes.length) lines.push(`<small>${escape(passNames(n))}</small>`);
  return lines.join('<br>');
}
function full(n, side) {
  const c = n.cost;
  const rows = [['operation', `<code>${escape(n.text)}</code>`], ['place', `<code>${escape(n.name) || '–'}</code>`], ['shape', `<code>${escape(n.shape)}</code>`]];
  if (n.passes.length) rows.push([side === 'before' ? 'taken away by' : 'made by', escape(passNames(n))]);
  if (n.weights.length) rows.push(['weights', n.weights.map(w => `<code>${escape(w.replace('weight @', ''))}</code>`).join('<br>')]);
  if (!n.is_view) rows.push(['one step', `${flops(c.flops)}; ${bytes(c.weight_bytes)} of weights, ${bytes(c.state_bytes)} of state, ${bytes(c.activation_bytes)} of activations`]);
  return `<b>${escape(n.op)}</b><dl>${rows.map(r => `<dt>${r[0]}</dt><dd>${r[1]}</dd>`).join('')}</dl>`;
}

// ---- memory
function memory() {
  const box = section('memory', 'Memory', 'The arena over the kernels of a program: each bar is a value, as wide as it lives and as high as it is large. ' +
    'Bars may share bytes only if they are never alive together.');
  const bar = box.append('div'), chart = box.append('div').attr('class', 'chart');
  tabs(bar, data.programs.map(p => p.program), name => {
    chart.selectAll('*').remove();
    arena(chart, data.programs.find(p => p.program === name).arena);
  })(data.programs[0].program);
}

function arena(chart, a) {
  note(chart, `${bytes(a.bytes)} of arena, ${bytes(a.bytes_per_position)} more for each position of the context, ${bytes(a.scratch_bytes)} of scratch for each thread`);
  const w = 1380, left = 74, top = 8, h = 300, bottom = 30;
  const svg = chart.append('svg').attr('viewBox', `0 0 ${w} ${h + top + bottom}`);
  const x = d3.scaleLinear([0, a.kernels.length], [left, w - 8]);
  const y = d3.scaleLinear([0, Math.max(1, a.bytes)], [top + h, top]);
  svg.append('g').attr('class', 'axis').attr('transform', `translate(${left},0)`).call(d3.axisLeft(y).ticks(6).tickFormat(bytes));
  const groups = d3.groups(a.kernels.map((k, i) => ({ k, i })), d => d.k.startsWith('layers.') ? d.k.split('.').slice(0, 2).join('.') : d.k.split('.')[0]);
  groups.forEach(([name, list], n) => {
    const x0 = x(list[0].i), x1 = x(list[list.length - 1].i + 1);
    svg.append('rect').attr('x', x0).attr('y', top).attr('width', x1 - x0).attr('height', h).attr('fill', n % 2 ? '#f6f8fb' : '#fbfcfd');
    svg.append('text').attr('x', (x0 + x1) / 2).attr('y', top + h + 18).attr('text-anchor', 'middle').attr('class', 'soft')
      .text(x1 - x0 > 34 ? short(name.replace('layers.', ''), Math.floor((x1 - x0) / 6.6)) : '');
  });
  const colour = d3.scaleOrdinal(hues);
  const bars = svg.append('g').selectAll('rect').data(a.buffers).join('rect').attr('x', d => x(d.first) + 0.5)
    .attr('width', d => Math.max(1, x(d.last + 1) - x(d.first) - 1)).attr('y', d => y(d.offset + d.bytes))
    .attr('height', d => Math.max(0.8, y(d.offset) - y(d.offset + d.bytes) - 0.6)).attr('rx', 2)
    .attr('fill', d => d.is_carried ? '#8b98a8' : colour(d.name.split('.').slice(-1)[0])).attr('fill-opacity', 0.8);
  hover(bars, d => `<b>${escape(d.name)}</b>${bytes(d.bytes)} at byte ${d.offset}<br><small>${escape(a.kernels[d.first])} … ${escape(a.kernels[d.last])}${d.is_carried ? '; handed from block to block' : ''}</small>`);
  svg.selectAll('text.bar').data(a.buffers.filter(d => x(d.last + 1) - x(d.first) > 46 && y(d.offset) - y(d.offset + d.bytes) > 13)).join('text')
    .attr('class', 'bar').attr('x', d => x(d.first) + 6).attr('y', d => y(d.offset + d.bytes / 2) + 4).style('pointer-events', 'none')
    .style('font-size', '11px').text(d => short(d.name.split('.').slice(-1)[0], Math.floor((x(d.last + 1) - x(d.first) - 8) / 6.4)));
}

// ---- bars, for state and times: [label, value, note, colour, low, high]
function bars(parent, rows, format, options = {}) {
  const w = options.width || 640, left = options.left || 190, row = 26;
  const svg = parent.append('svg').attr('viewBox', `0 0 ${w} ${rows.length * row + 6}`);
  const x = d3.scaleLinear([0, d3.max(rows, r => Math.max(r.high || 0, r.value)) || 1], [left, w - 118]);
  const g = svg.selectAll('g').data(rows).join('g').attr('transform', (_, i) => `translate(0,${i * row})`);
  g.append('text').attr('x', left - 10).attr('y', 17).attr('text-anchor', 'end').text(r => r.label);
  g.append('rect').attr('x', left).attr('y', 4).attr('height', row - 9).attr('rx', 3).attr('width', r => Math.max(1, x(r.value) - left)).attr('fill', r => r.colour || '#4e79a7');
  g.filter(r => r.high).append('path').attr('d', r => `M${x(r.low)},12H${x(r.high)}M${x(r.low)},8v8M${x(r.high)},8v8`).attr('stroke', '#1c2430').attr('fill', 'none');
  g.append('text').attr('x', r => x(Math.max(r.high || 0, r.value)) + 8).attr('y', 17).attr('class', 'soft').text(r => format(r));
  if (options.mark !== undefined) svg.append('line').attr('x1', x(options.mark)).attr('x2', x(options.mark)).attr('y1', 0).attr('y2', rows.length * row).attr('stroke', '#1c2430').attr('stroke-dasharray', '3 3');
  return svg;
}

function state() {
  const s = data.summary.state;
  const box = section('state', 'State', 'What a sequence keeps for every token, next to multi-head attention of the same shape, and how it grows with the context.');
  const two = box.append('div').attr('class', 'two');
  const left = two.append('div').attr('class', 'chart'), right = two.append('div').attr('class', 'chart');
  left.append('h3').text('Bytes a token');
  bars(left, [{ label: 'this model', value: s.bytes_per_token, colour: '#59a14f' }, { label: 'multi-head attention', value: s.mha_bytes_per_token, colour: '#b8c2ce' }], r => bytes(r.value));
  right.append('h3').text('Bytes at context lengths');
  bars(right, s.at.map(a => ({ label: `${a.context} positions`, value: a.bytes, colour: '#76b7b2' })), r => bytes(r.value));
}

// ---- roofline
function roofline() {
  const m = data.summary.machine;
  if (!m) return;
  const timed = data.profile !== null;
  const box = section('roofline', 'Roofline', `The ceilings measured on this machine: ${m.gbps.toFixed(1)} GB/s and ${m.gflops.toFixed(0)} GFLOP/s. ` +
    (timed ? 'Kernels stand at the speed the profile measured.' : 'Kernels stand at the most that the ceilings allow; with a profile, at their measured speed.') +
    ' The area of a dot is the kernel\'s share of the bytes of a step; bytes are weights, state and activations.');
  const bar = box.append('div'), chart = box.append('div').attr('class', 'chart');
  tabs(bar, data.programs.map(p => p.program), name => {
    chart.selectAll('*').remove();
    const program = data.programs.find(p => p.program === name), { tokens, depth } = program.step;
    note(chart, `A step of ${tokens} ${tokens === 1 ? 'token' : 'tokens'} at a depth of ${depth}`);
    roof(chart, program, m);
  })(data.programs[0].program);
}

// Seconds of one run of a kernel by the profile: the slowest thread's share.
function measured(program, kernel) {
  const p = data.profile && data.profile.programs.find(q => q.program === program.program && q.steps > 0);
  const k = p && p.kernels.find(q => q.at === kernel.at && q.op === kernel.op);
  return k && k.calls ? Math.max(...k.busy_ns) / k.calls / 1e9 : null;
}

function roof(chart, program, m) {
  const w = 1380, h = 420, left = 64, bottom = 46, right = 20, top = 14;
  const dots = program.kernels.filter(k => k.cost.flops > 0 && kernelBytes(k.cost) > 0).map(k => {
    const intensity = k.cost.flops / kernelBytes(k.cost);
    const seconds = measured(program, k);
    const most = Math.min(m.gflops, intensity * m.gbps);
    return { k, intensity, speed: seconds ? k.cost.flops / seconds / 1e9 : most, most, seconds, share: kernelBytes(k.cost) * k.times };
  });
  if (!dots.length) return;
  const ridge = m.gflops / m.gbps;
  const xs = d3.scaleLog([Math.min(0.05, d3.min(dots, d => d.intensity) / 2), Math.max(ridge * 4, d3.max(dots, d => d.intensity) * 2)], [left, w - right]);
  const low = Math.min(d3.min(dots, d => d.speed) / 3, m.gbps * 0.05);
  const ys = d3.scaleLog([low, Math.max(m.gflops, d3.max(dots, d => d.speed)) * 2], [h - bottom, top]);
  const r = d3.scaleSqrt([0, d3.max(dots, d => d.share)], [3, 22]);
  const svg = chart.append('svg').attr('viewBox', `0 0 ${w} ${h}`);
  svg.append('g').attr('class', 'grid').attr('transform', `translate(${left},0)`).call(d3.axisLeft(ys).ticks(5).tickSize(-(w - left - right)).tickFormat(''));
  svg.append('g').attr('class', 'axis').attr('transform', `translate(0,${h - bottom})`).call(d3.axisBottom(xs).ticks(8, '~g'));
  svg.append('g').attr('class', 'axis').attr('transform', `translate(${left},0)`).call(d3.axisLeft(ys).ticks(5, '~g'));
  svg.append('text').attr('class', 'soft').attr('x', w - right).attr('y', h - 10).attr('text-anchor', 'end').text('operations a byte');
  svg.append('text').attr('class', 'soft').attr('x', left + 8).attr('y', top + 4).text('GFLOP/s');
  const [x0, x1] = xs.domain();
  const path = d3.line(p => xs(p[0]), p => ys(Math.max(p[1], low)));
  svg.append('path').attr('d', path([[x0, x0 * m.gbps], [ridge, m.gflops], [x1, m.gflops]])).attr('fill', 'none').attr('stroke', '#1c2430').attr('stroke-width', 1.8);
  svg.append('text').attr('class', 'soft').attr('x', w - right).attr('y', ys(m.gflops) - 8).attr('text-anchor', 'end').text(`${m.gflops.toFixed(0)} GFLOP/s`);
  const names = [...new Set(dots.map(d => group(d.k.at)))];
  const colour = d3.scaleOrdinal(names, hues);
  const dot = svg.append('g').selectAll('circle').data(dots.sort((a, b) => b.share - a.share)).join('circle').attr('cx', d => xs(d.intensity))
    .attr('cy', d => ys(d.speed)).attr('r', d => r(d.share)).attr('fill', d => colour(group(d.k.at))).attr('fill-opacity', 0.7).attr('stroke', '#fff');
  hover(dot, d => `<b>${escape(d.k.at)} (${escape(d.k.op)})</b>${d.k.times} times a step<br>${flops(d.k.cost.flops)}, ${bytes(kernelBytes(d.k.cost))}: ${d.intensity.toPrecision(3)} a byte<br>` +
    (d.seconds ? `${(d.seconds * 1e6).toPrecision(3)} µs: ${d.speed.toPrecision(3)} GFLOP/s, ${(100 * d.speed / d.most).toFixed(0)} % of what memory and arithmetic allow` : `at most ${d.most.toPrecision(3)} GFLOP/s`));
  key(chart, names, colour);
}

const group = at => { const p = at.split('.').filter(x => !/^\d+$/.test(x)); return p[0] === 'layers' ? p[2] || p[1] : p[0]; };
function key(parent, names, colour) {
  const k = parent.append('div').attr('class', 'legend').selectAll('span').data(names).join('span');
  k.append('i').style('background', n => colour(n));
  k.append(() => document.createTextNode('')).text(n => n);
}

// ---- ablation
function ablation() {
  if (!data.bench) return;
  const b = data.bench;
  const box = section('ablation', 'What each pass is worth', `Time of each variant over that of the fused graph, the 95 % interval of paired runs across it; ${b.threads} threads, ${b.rounds} rounds. Beyond 1 is slower.`);
  const two = box.append('div').attr('class', 'two');
  for (const p of b.points) {
    const chart = two.append('div').attr('class', 'chart');
    chart.append('h3').text(`${p.phase} of ${p.tokens} at ${p.depth}: fused ${perSecond(p.variants[0].tokens_per_second)} tokens/s`);
    const rows = p.variants.slice(1).map(v => ({ label: v.name, value: v.ratio.median, low: v.ratio.low, high: v.ratio.high, v,
      colour: v.impossible ? '#e15759' : v.ratio.low > 1 ? '#f28e2b' : v.ratio.high < 1 ? '#59a14f' : '#b8c2ce' }));
    const svg = bars(chart, rows, r => `${r.value.toFixed(2)}×`, { left: 210, mark: 1 });
    hover(svg.selectAll('g'), r => `<b>${escape(r.label)}</b>${perSecond(r.v.tokens_per_second)} tokens/s; ${r.v.kernels} kernels, ${r.v.barriers} barriers, ${bytes(r.v.bytes)}<br>${(100 * r.v.ceiling_share).toFixed(0)} % of the ceiling${r.v.impossible ? ': impossible' : ''}`);
  }
}

// ---- profile
function profile() {
  if (!data.profile) return;
  const box = section('profile', 'Profile', `Where the time of a step went, on ${data.profile.threads} threads; waiting at barriers is pale.`);
  const two = box.append('div').attr('class', 'two');
  for (const p of data.profile.programs.filter(q => q.steps > 0)) {
    const all = p.wall_ns * data.profile.threads;
    const sum = list => d3.sum(list);
    const groups = d3.rollups(p.kernels, list => [d3.sum(list, k => sum(k.busy_ns)), d3.sum(list, k => sum(k.wait_ns))], k => group(k.at));
    groups.push(['end of step', [0, sum(p.end_wait_ns)]]);
    const chart = two.append('div').attr('class', 'chart');
    chart.append('h3').text(`${p.program}: ${p.steps} steps of ${(p.wall_ns / p.steps / 1e6).toPrecision(3)} ms`);
    const w = 640, left = 130, row = 26;
    const svg = chart.append('svg').attr('viewBox', `0 0 ${w} ${groups.length * row}`);
    const x = d3.scaleLinear([0, d3.max(groups, g => g[1][0] + g[1][1])], [0, w - left - 180]);
    groups.forEach(([name, [busy, wait]], i) => {
      const g = svg.append('g').attr('transform', `translate(0,${i * row})`);
      g.append('text').attr('x', left - 10).attr('y', 17).attr('text-anchor', 'end').text(name);
      g.append('rect').attr('x', left).attr('y', 4).attr('height', row - 9).attr('width', x(busy)).attr('fill', hues[i % hues.length]);
      g.append('rect').attr('x', left + x(busy)).attr('y', 4).attr('height', row - 9).attr('width', x(wait)).attr('fill', hues[i % hues.length]).attr('fill-opacity', 0.25);
      g.append('text').attr('class', 'soft').attr('x', left + x(busy + wait) + 8).attr('y', 17).text(`${(100 * busy / all).toFixed(1)} % + ${(100 * wait / all).toFixed(1)} % waiting`);
    });
    const top = p.kernels.slice().sort((a, b) => sum(b.busy_ns) - sum(a.busy_ns)).slice(0, 10);
    const table = chart.append('table');
    table.append('tr').selectAll('th').data(['kernel', 'calls', 'µs each', 'share']).join('th').text(d => d);
    const rows = table.selectAll('tr.k').data(top).join('tr').attr('class', 'k');
    rows.append('td').html(k => `<code>${escape(k.at)}</code> ${escape(k.op)}`);
    rows.append('td').attr('class', 'n').text(k => k.calls);
    rows.append('td').attr('class', 'n').text(k => (Math.max(...k.busy_ns) / Math.max(1, k.calls) / 1e3).toPrecision(3));
    rows.append('td').attr('class', 'n').text(k => `${(100 * sum(k.busy_ns) / all).toFixed(1)} %`);
  }
}

overview();
comparison();
graphs();
memory();
state();
roofline();
ablation();
profile();
document.body.dataset.ready = 'yes';
