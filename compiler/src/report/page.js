// ---- overview
function overview() {
  const s = data.summary, decode = s.steps[0], m = s.machine;
  document.getElementById('lead').textContent = `${s.mechanisms[0].value} layers · hidden ${s.hidden} · vocabulary ${s.vocab.toLocaleString('en')} · compiled by Graver`;
  const box = section('overview', 'Overview', 'What the model is, and what one step of it costs. Nothing here depends on the weights\' values.');
  const cards = [
    [count(s.parameters), 'parameters'],
    [count(s.active_parameters), 'read for one token'],
    [bytes(s.weight_bytes), 'of weights, which have to fit into memory'],
    [bytes(s.state.bytes_per_token), 'of state a token'],
    [`${decode.kernels} / ${decode.barriers}`, 'kernels / barriers of a decode step'],
  ];
  if (decode.tokens_per_second) cards.push([perSecond(decode.tokens_per_second), `tokens/s at most, by ${digits(m.gbps)} GB/s and ${digits(m.gflops)} GFLOP/s`]);
  add(box, 'div', { class: 'cards' }, cards.map(c => `<div class="card"><b>${escape(c[0])}</b><span>${escape(c[1])}</span></div>`).join(''));
  // The comparison below has the same rows.
  if (data.comparison) return;
  add(box, 'table', { class: 'facts' }, data.rows.map(r => `<tr><th>${escape(r[0])}</th><td>${escape(r[1])}</td></tr>`).join(''));
}

// ---- beside another model
function comparison() {
  if (!data.comparison) return;
  const { models, rows } = data.comparison;
  const box = section('comparison', `Beside ${models[1].model}`, 'Mechanism by mechanism, the costs below; what differs stands out.');
  const row = r => `<tr class="${r.same ? 'same' : ''}"><th>${escape(r.name)}</th>${r.values.map(v => `<td>${escape(v ?? '–')}</td>`).join('')}</tr>`;
  add(box, 'table', { class: 'beside' }, `<tr><th></th><th>${escape(models[0].model)}</th><th>${escape(models[1].model)}</th></tr>${rows.map(row).join('')}`);
}

// ---- ablation
function ablation() {
  if (!data.bench) return;
  const b = data.bench;
  const box = section('ablation', 'What each pass is worth', `Time of each variant over that of the fused graph, the 95 % interval of paired runs across it; ${b.threads === 1 ? '1 thread' : `${b.threads} threads`}, ${b.rounds} rounds. Beyond 1 is slower.`);
  if (b.verdict) add(box, 'p', { class: 'verdict' }, escape(b.verdict));
  const two = add(box, 'div', { class: 'two' });
  for (const p of b.points) {
    const part = add(two, 'div');
    add(part, 'h3', {}, `${p.phase} of ${p.tokens} at ${p.depth}: fused ${perSecond(p.variants[0].tokens_per_second)} tokens/s`);
    const rows = p.variants.slice(1).map(v => ({ label: v.name, value: v.ratio.median, low: v.ratio.low, high: v.ratio.high, text: `${v.ratio.median.toFixed(2)}×`,
      hue: v.impossible ? 25 : v.ratio.low > 1 ? 60 : v.ratio.high < 1 ? 150 : null,
      tip: `<b>${escape(v.name)}</b>${perSecond(v.tokens_per_second)} tokens/s; ${v.kernels} kernels, ${v.barriers} barriers, ${bytes(v.bytes)}<br>${(100 * v.ceiling_share).toFixed(0)} % of the ceiling${v.impossible ? ': impossible' : ''}` }));
    if (rows.length) chart(part, w => bars(w, rows, { mark: 1 }));
  }
}

// ---- profile
const group = at => { const p = at.split('.').filter(x => !/^\d+$/.test(x)); return p[0] === 'layers' ? p[2] || p[1] : p[0]; };
function profile() {
  if (!data.profile) return;
  const threads = data.profile.threads;
  const box = section('profile', 'Profile', `Where the time of a step went, on ${threads === 1 ? '1 thread' : `${threads} threads`}; waiting at barriers is pale. A call that lost its processor is marked “!”: shares of kernels leave out what it lost.`);
  const two = add(box, 'div', { class: 'two' });
  for (const p of data.profile.programs.filter(q => q.steps > 0)) {
    const part = add(two, 'div'), all = p.wall_ns * threads;
    add(part, 'h3', {}, `${p.program}: ${p.steps} ${p.steps === 1 ? 'step' : 'steps'} of ${time(p.wall_ns / p.steps)}`);
    const groups = new Map();
    p.kernels.forEach(k => {
      const [busy, wait] = groups.get(group(k.at)) || [0, 0];
      groups.set(group(k.at), [busy + sum(k.busy_ns), wait + sum(k.wait_ns)]);
    });
    groups.set('end of step', [0, sum(p.end_wait_ns)]);
    chart(part, w => shares([...groups], all, w));
    const usual = k => sum(k.busy_ns) - sum(k.lost_ns);
    const top = p.kernels.filter(k => k.calls).sort((a, b) => usual(b) - usual(a)).slice(0, 10);
    const row = k => `<tr><td><code>${escape(k.at.replace(/^layers\./, ''))}</code></td><td class="n hide">${k.calls.toLocaleString('en')}</td><td class="n">${time(Math.max(...k.median_ns))}</td>` +
      `<td class="n">${k.preempted ? `<span title="${k.preempted} calls lost their processor">! </span>` : ''}${time(Math.max(...k.largest_ns))}</td><td class="n">${(100 * usual(k) / all).toFixed(1)} %</td></tr>`;
    add(part, 'table', {}, `<tr><th>kernel</th><th class="n hide">calls</th><th class="n">median</th><th class="n">largest</th><th class="n">share</th></tr>${top.map(row).join('')}`);
  }
}

function shares(groups, all, w) {
  const left = Math.min(w * 0.4, Math.max(...groups.map(g => g[0].length)) * 7 + 14), row = 27;
  const x = linear([0, Math.max(...groups.map(g => g[1][0] + g[1][1])) || 1], [0, w - left - 150]);
  const rows = groups.map(([name, [busy, wait]], i) => `<text x="${left - 10}" y="${i * row + 16}" text-anchor="end">${escape(short(name, Math.floor(left / 6.8)))}</text>` +
    `<rect class="hue fill" style="--h:${hueOf(i)}" x="${left}" y="${i * row + 4}" width="${x(busy)}" height="${row - 11}" fill-opacity=".85"/>` +
    `<rect class="hue fill" style="--h:${hueOf(i)}" x="${left + x(busy)}" y="${i * row + 4}" width="${x(wait)}" height="${row - 11}" fill-opacity=".25"/>` +
    `<text class="soft" x="${left + x(busy + wait) + 8}" y="${i * row + 16}">${(100 * busy / all).toFixed(1)} % + ${(100 * wait / all).toFixed(1)} % waiting</text>`);
  return `<svg height="${groups.length * row + 6}">${rows.join('')}</svg>`;
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
