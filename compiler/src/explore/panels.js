// The five views of a kernel.
const scaled = (n, unit) => {
  const prefixes = ['', 'k', 'M', 'G', 'T', 'P'];
  let i = 0;
  while (n >= 999.5 && i + 1 < prefixes.length) { n /= 1000; i += 1; }
  return `${i === 0 && Number.isInteger(n) ? n : n.toPrecision(3)} ${prefixes[i]}${unit}`;
};
const digits = n => n >= 1000 ? Math.round(n).toLocaleString('en') : n.toPrecision(3);
const bytes = n => scaled(n, 'B');
const flops = n => scaled(n, 'FLOP');
const time = ns => ns < 1000 ? `${Math.round(ns)} ns` : ns < 1e6 ? `${(ns / 1e3).toPrecision(3)} µs` : ns < 1e9 ? `${(ns / 1e6).toPrecision(3)} ms` : `${(ns / 1e9).toPrecision(3)} s`;
const allBytes = c => c.weight_bytes + c.state_bytes + c.activation_bytes;
const memoryBytes = c => c.weight_bytes + c.state_bytes;
const passHue = i => Math.round((i * 137.508 + 250) % 360);
const chip = (pass, i) => `<span class="chip pass" style="--h:${passHue(i)}" title="${escape(pass.about)}"><i></i>${escape(pass.name)}</span>`;

// Nanoseconds that memory and arithmetic allow at least.
const least = (cost, m) => Math.max(memoryBytes(cost) / m.gbps, cost.flops / m.gflops);

function panel(kind, title, aside, body) {
  return `<section class="panel ${kind}" data-view="${kind}"><h3>${title}<span>${aside}</span></h3><div class="body">${body}</div></section>`;
}

function originsPanel(kernel, block) {
  const shown = kernel.origins.map(i => {
    const n = block.plain[i];
    const gone = n.gone === null ? '' : ` class="pass" style="--h:${passHue(n.gone)}"`;
    const from = n.reads.map(r => r.from === null ? r.name : `${block.plain[r.from].op} ${block.plain[r.from].name}`);
    const lines = from.concat(n.weights.map(w => `@${w}`));
    return `<li${gone} title="${escape(n.text)}"><i></i><span><b>${escape(n.op)}</b> <code>${escape(n.name)}</code></span><span class="shape">${escape(n.shape)}</span>` +
      `<span class="from">reads ${escape(lines.join(', ') || 'nothing')}</span></li>`;
  });
  const count = shown.length === 1 ? '1 operation' : `${shown.length} operations`;
  const body = shown.length ? `<ul class="steps">${shown.join('')}</ul>` : '<p class="none">The schedule added it: the block hands on what it would overwrite.</p>';
  return panel('origins', 'In the spec', shown.length ? count : '', body);
}

function remarksPanel(kernel, passes) {
  const shown = kernel.remarks.map(r =>
    `<li class="pass ${r.fused ? 'fused' : 'kept'}" style="--h:${passHue(r.pass)}"><b>${escape(passes[r.pass].name)}</b> <code>${escape(r.at)}</code><br>${r.fused ? '' : 'kept: '}${escape(r.text)}</li>`);
  const fused = kernel.remarks.filter(r => r.fused).length;
  const body = shown.length ? `<ul class="remarks">${shown.join('')}</ul>` : '<p class="none">No pass had it as a candidate.</p>';
  return panel('said', 'What passes did', shown.length ? `${fused} fused, ${shown.length - fused} kept` : '', body);
}

function costPanel(kernel, block, program, about, times) {
  const c = kernel.cost, m = about.machine, t = times && times(block, kernel);
  const parts = [['weights', c.weight_bytes, 255], ['state', c.state_bytes, 25], ['activations', c.activation_bytes, 155]];
  const split = `<div class="split">${parts.filter(p => p[1]).map(p => `<i style="flex:${p[1]};background:oklch(var(--pl) var(--pc) ${p[2]})" title="${p[0]}"></i>`).join('')}</div>`;
  const row = (name, value, kind = '') => `<tr class="${kind}"><td>${name}</td><td>${value}</td></tr>`;
  const rows = parts.map(p => row(p[0], bytes(p[1])));
  rows.push(row('operations', flops(c.flops), 'gap'));
  if (memoryBytes(c)) rows.push(row('operations a byte of memory', digits(c.flops / memoryBytes(c))));
  if (m) {
    const bound = memoryBytes(c) / m.gbps >= c.flops / m.gflops ? 'memory' : 'arithmetic';
    rows.push(row(`at least, by ${bound}`, time(least(c, m)), 'gap'));
  }
  if (t) {
    rows.push(row('measured, median', time(t.median_ns), 'strong'));
    rows.push(row(`largest${t.preempted ? `; ${t.preempted} lost the processor` : ''}`, time(t.largest_ns)));
    rows.push(row('GB/s of weights and state', digits(memoryBytes(c) / t.median_ns)));
    rows.push(row('GFLOP/s', digits(c.flops / t.median_ns)));
    if (m) rows.push(row('of what the machine allows', `${(100 * least(c, m) / t.median_ns).toFixed(0)} %`, 'strong'));
    if (m && least(c, m) > t.median_ns * 1.02) rows.push(row('above 100 %: the limits were measured while the machine was busy, or what is read lies in caches', ''));
  }
  const { tokens, depth } = program.step;
  const aside = `${tokens === 1 ? '1 token' : `${tokens} tokens`}${depth ? ` after ${depth}` : ''}, one layer`;
  return panel('cost', 'What it costs', aside, `${split}<table>${rows.join('')}</table>${m ? roofline(kernel, program, m, times) : ''}`);
}

// All kernels under the roof; this one with its name. Without times each stands where the roof is.
function roofline(kernel, program, m, times) {
  const all = program.blocks.flatMap(b => b.kernels.map(k => ({ b, k })));
  const dots = all.filter(({ k }) => k.cost.flops && memoryBytes(k.cost)).map(({ b, k }) => {
    const t = times && times(b, k);
    const x = k.cost.flops / memoryBytes(k.cost);
    return { k, x, y: t ? k.cost.flops / t.median_ns : Math.min(m.gflops, x * m.gbps), timed: Boolean(t) };
  });
  const me = dots.find(d => d.k === kernel);
  if (!dots.length) return '';
  const w = 330, h = 150, left = 34, bottom = 24, top = 10, right = 8, ridge = m.gflops / m.gbps;
  const low = Math.min(0.1, ...dots.map(d => d.x)) / 1.5, high = Math.max(ridge * 6, ...dots.map(d => d.x * 1.5));
  const floor = Math.min(m.gflops / 100, ...dots.map(d => d.y / 1.5)), roof = Math.max(m.gflops, ...dots.map(d => d.y)) * 1.6;
  const log = (v, a, b) => Math.log(v / a) / Math.log(b / a);
  const X = v => left + (w - left - right) * log(v, low, high), Y = v => h - bottom - (h - bottom - top) * log(Math.max(v, floor), floor, roof);
  const tens = (a, b) => { const out = []; for (let e = Math.ceil(Math.log10(a)); 10 ** e <= b; e++) out.push(10 ** e); return out; };
  const label = v => v >= 1000 ? `${v / 1000}k` : String(+v.toPrecision(1));
  const ticks = tens(low, high).map(v => `<text x="${X(v)}" y="${h - 9}" text-anchor="middle">${label(v)}</text>`)
    .concat(tens(floor, roof).map(v => `<text x="${left - 6}" y="${Y(v) + 3.5}" text-anchor="end">${label(v)}</text>`));
  const start = Math.max(low, floor / m.gbps);
  const line = [[start, start * m.gbps], [ridge, m.gflops], [high, m.gflops]].map(p => `${X(p[0])},${Y(p[1])}`).join(' ');
  const mine = me ? `<line class="drop" x1="${X(me.x)}" x2="${X(me.x)}" y1="${Y(Math.min(m.gflops, me.x * m.gbps))}" y2="${Y(me.y)}"/><circle class="dot me" r="5" cx="${X(me.x)}" cy="${Y(me.y)}"/>` : '';
  return `<svg viewBox="0 0 ${w} ${h}" role="img" aria-label="Roofline">${ticks.join('')}<polyline class="roof" points="${line}"/>` +
    `${dots.filter(d => d !== me).map(d => `<circle class="dot" r="3" cx="${X(d.x)}" cy="${Y(d.y)}"><title>${escape(d.k.name)}</title></circle>`).join('')}${mine}` +
    `<text x="${w - right}" y="${Y(m.gflops) - 5}" text-anchor="end">${digits(m.gflops)} GFLOP/s, ${digits(m.gbps)} GB/s</text></svg>`;
}

function codePanels(kernel) {
  const lines = kernel.clif.trimEnd().split('\n').length;
  const clif = panel('clif', 'Cranelift IR, annotated', `${lines} lines`, `<pre>${clifHtml(kernel.clif)}</pre>`);
  if (!kernel.asm) return clif + panel('asm', 'Machine code', '', `<pre>${escape(kernel.asm_text)}</pre>`);
  const size = kernel.asm.lines.reduce((n, l) => n + (l.bytes.length + 1) / 3, 0), loops = kernel.asm.loops.length;
  const aside = `${bytes(size)}, ${kernel.asm.lines.length} instructions, ${loops === 1 ? '1 loop' : `${loops} loops`}`;
  return clif + panel('asm', 'Machine code', aside, `<pre>${asmHtml(kernel.asm)}</pre>`);
}
