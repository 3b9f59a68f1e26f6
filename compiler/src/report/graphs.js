// ---- graphs: operations to the left, kernels to the right, and who does what between them
function graphs() {
  const box = section('graph', 'What fusion does', 'Left, the operations of the spec, in order; right, the kernels that run. A ribbon leads from an operation to the kernel that does it, in the colour of the pass ' +
    'that took the operation away. Arcs outside show who reads whose result. Click an operation or a kernel for all of it.');
  const used = new Set(data.programs.flatMap(p => p.blocks).flatMap(b => b.before.nodes.concat(b.after.nodes)).flatMap(n => n.passes));
  const bar = add(box, 'div');
  legend(box, data.passes.map((p, i) => ({ ...p, hue: passHue(i), i })).filter(p => used.has(p.i)).concat([{ name: 'as the spec has it', hue: null }]));
  const body = add(box, 'div');
  tabs(bar, data.programs.map(p => p.program), name => {
    body.innerHTML = '';
    const program = data.programs.find(p => p.program === name);
    const open = program.blocks.findIndex(b => b.place.startsWith('layers.'));
    program.blocks.forEach((b, i) => block(body, b, i === open || (i > open && b.layers > program.blocks[open].layers)));
  })(data.programs[0].program);
}

function block(parent, b, open) {
  const d = add(parent, 'details', { class: 'block' });
  const n = (list, one, many) => list.length === 1 ? `1 ${one}` : `${list.length} ${many}`;
  add(d, 'summary', {}, `<b>${escape(b.place)}</b><span>${b.layers > 1 ? `× ${b.layers} layers` : b.place.startsWith('layers.') ? '1 layer' : ''}</span>` +
    `<span>${n(b.before.nodes, 'operation', 'operations')} → ${n(b.after.nodes, 'kernel', 'kernels')}</span>`);
  let shown = false;
  const show = () => {
    if (shown || !d.open) return;
    shown = true;
    weave(d, b);
  };
  d.addEventListener('toggle', show);
  if (open) { d.open = true; show(); }
}

const ROW = 23, TALL = 44, GAP = 9;

// Kernels stand as near to the middle of their operations as those above them allow.
function places(b) {
  const middles = b.after.nodes.map(n => n.origins.length ? sum(n.origins.map(i => i * ROW + ROW / 2)) / n.origins.length : 0);
  const left = b.before.nodes.length * ROW, needed = b.after.nodes.length * (TALL + GAP), height = Math.max(left, needed);
  const tops = [];
  middles.forEach((m, i) => { tops[i] = Math.max(i ? tops[i - 1] + TALL + GAP : 0, m - TALL / 2); });
  for (let i = tops.length - 1, most = height - TALL; i >= 0 && tops[i] > most; i--, most -= TALL + GAP) tops[i] = most;
  return { height, before: b.before.nodes.map((_, i) => i * ROW + ROW / 2 + (height - left) / 2), after: tops.map(t => t + TALL / 2) };
}

function weave(parent, b) {
  const box = add(parent, 'div', { class: 'weave' }), detail = add(parent, 'div', { class: 'detail' });
  const at = places(b), text = n => n.name && n.name !== n.op ? n.name : '';
  const stripe = n => `<span class="stripe">${n.passes.map(p => `<i class="hue" style="--h:${passHue(p)}"></i>`).join('')}</span>`;
  const node = (side, n, i) => `<button type="button" class="node" data-i="${i}" style="top:${at[side][i] - (side === 'before' ? 11 : TALL / 2)}px" data-tip="${escape(brief(n))}">` +
    (side === 'before' ? `<code>${escape(text(n))}</code><b>${escape(n.op)}</b>` : `${stripe(n)}<b>${escape(text(n) || n.op)}</b><code>${escape(n.op)} · ${bytes(kernelBytes(n.cost))}</code>`) + '</button>';
  const list = side => `<div class="list ${side}" data-side="${side}" style="grid-column:${side === 'before' ? 1 : 3};height:${at.height}px">${b[side].nodes.map((n, i) => node(side, n, i)).join('')}</div>`;
  box.innerHTML = `<h4>In the spec</h4><h4 class="after">Kernels</h4>${list('before')}${list('after')}<svg class="ribbons" aria-hidden="true"></svg>`;
  const svg = box.querySelector('svg.ribbons');
  onWidth(box, () => { svg.innerHTML = ribbons(box, b, at); });
  box.addEventListener('click', e => {
    const found = e.target.closest('.node');
    if (found) choose(box, b, detail, found.closest('.list').dataset.side, Number(found.dataset.i));
  });
}

function ribbons(box, b, at) {
  const own = box.getBoundingClientRect();
  const [left, right] = ['before', 'after'].map(side => box.querySelector(`.${side}.list`).getBoundingClientRect());
  const top = left.top - own.top, x0 = left.right - own.left - 6, x1 = right.left - own.left + 6, mid = (x0 + x1) / 2;
  const out = [];
  const narrow = own.width < 560, inset = narrow ? 16 : 34;
  const arcs = (side, edge, inward) => b[side].edges.forEach(([from, to]) => {
    const [y0, y1] = [at[side][from] + top, at[side][to] + top];
    const far = Math.min(inset - 4, 5 + Math.abs(y1 - y0) / (narrow ? 30 : 14)), x = edge + inward * (inset - far);
    out.push(`<path class="edge" data-side="${side}" data-ends="${from} ${to}" d="M${edge + inward * inset},${y0}C${x},${y0} ${x},${y1} ${edge + inward * inset},${y1}"/>`);
  });
  arcs('before', left.left - own.left, 1);
  arcs('after', right.right - own.left, -1);
  b.after.nodes.forEach((n, i) => n.origins.forEach(o => {
    const gone = b.before.nodes[o].passes[0], y0 = at.before[o] + top, y1 = at.after[i] + top;
    out.push(`<path class="${gone === undefined ? 'plain' : 'hue'}" style="--h:${gone === undefined ? 0 : passHue(gone)}" data-from="${o}" data-to="${i}" d="M${x0},${y0}C${mid},${y0} ${mid},${y1} ${x1},${y1}"/>`);
  }));
  return out.join('');
}

function choose(box, b, detail, side, i) {
  const n = b[side].nodes[i];
  const kernels = side === 'after' ? [i] : b.after.nodes.flatMap((k, j) => k.origins.includes(i) ? [j] : []);
  const operations = side === 'after' ? n.origins : [i];
  box.querySelectorAll('.node').forEach(e => {
    const own = e.closest('.list').dataset.side, index = Number(e.dataset.i);
    e.classList.toggle('selected', own === side && index === i);
    e.classList.toggle('dim', !(own === 'after' ? kernels : operations).includes(index));
  });
  const svg = box.querySelector('svg.ribbons');
  svg.classList.add('chosen');
  svg.querySelectorAll('path').forEach(p => {
    const isEdge = p.dataset.ends !== undefined;
    const on = isEdge ? p.dataset.side === side && p.dataset.ends.split(' ').map(Number).includes(i)
      : kernels.includes(Number(p.dataset.to)) && operations.includes(Number(p.dataset.from));
    p.classList.toggle('on', on);
  });
  detail.className = 'detail open';
  detail.innerHTML = full(n, side, b, kernels);
}

const passNames = n => n.passes.map(p => data.passes[p].name).join(', ');
const costText = c => `${flops(c.flops)}; ${bytes(c.weight_bytes)} weights, ${bytes(c.state_bytes)} state, ${bytes(c.activation_bytes)} activations`;
function brief(n) {
  const lines = [`<b>${escape(n.op)} ${escape(n.name)}</b>shape <code>${escape(n.shape)}</code>`];
  if (kernelBytes(n.cost)) lines.push(costText(n.cost));
  if (n.passes.length) lines.push(`<small>${escape(passNames(n))}</small>`);
  return lines.join('<br>');
}
function full(n, side, b, kernels) {
  const rows = [['operation', `<code>${escape(n.text)}</code>`], ['place', `<code>${escape(n.name) || '–'}</code>`], ['shape', `<code>${escape(n.shape)}</code>`]];
  if (n.passes.length) rows.push([side === 'before' ? 'taken away by' : 'made by', escape(passNames(n))]);
  if (side === 'before') rows.push(['done by', kernels.map(k => `<code>${escape(b.after.nodes[k].name || b.after.nodes[k].op)}</code>`).join(', ') || 'nothing']);
  if (side === 'after' && n.origins.length) rows.push(['does', n.origins.map(o => `${escape(b.before.nodes[o].op)} <code>${escape(b.before.nodes[o].name)}</code>`).join(', ')]);
  if (n.weights.length) rows.push(['weights', n.weights.map(w => `<code>${escape(w.replace('weight @', ''))}</code>`).join('<br>')]);
  if (kernelBytes(n.cost)) rows.push(['one step', costText(n.cost)]);
  return `<b>${escape(n.op)}</b><dl>${rows.map(r => `<dt>${r[0]}</dt><dd>${r[1]}</dd>`).join('')}</dl>`;
}
