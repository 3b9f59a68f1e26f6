// The page: which program, which kernel, which passes.
const data = JSON.parse(document.getElementById('data').textContent);
const { about } = data;
const $ = id => document.getElementById(id);
const first = data.view;
let view = data.view, times = data.times, program = 'decode', chosen = null, asked = 0;

const current = v => (v || view).programs.find(p => p.program === program);
const place = (block, kernel) => `${block.place}.${kernel.name}`;
const off = () => view.passes.filter((p, i) => !p.enabled && first.passes[i].enabled).map(p => p.name);

// What a kernel took, if that was measured with the passes that are on.
function timesOf(block, kernel) {
  const p = times && times.programs.find(q => q.program === program);
  return p && p.kernels.find(k => k.at === place(block, kernel) && k.op === kernel.op && k.median_ns > 0);
}
const timed = () => times ? timesOf : null;
// What a kernel takes, or has to, for a whole step.
function weight(block, kernel) {
  const t = timesOf(block, kernel);
  if (t) return t.median_ns * block.layers;
  return about.machine ? least(kernel.cost, about.machine) * block.layers : allBytes(kernel.cost) * block.layers;
}

function drawHead() {
  $('facts').textContent = about.facts.join(' · ');
  $('programs').innerHTML = view.programs.map(p => `<button type="button" role="tab" data-program="${p.program}" aria-selected="${p.program === program}">${p.program}</button>`).join('');
  const shown = view.passes.map((p, i) => ({ ...p, i })).filter(p => p.fused || first.passes[p.i].fused);
  $('passes').innerHTML = shown.map(p =>
    `<button type="button" class="pass" data-pass="${p.name}" style="--h:${passHue(p.i)}" aria-pressed="${p.enabled}" ${about.live && first.passes[p.i].enabled ? '' : 'disabled'}` +
    ` title="${escape(p.about)}${about.live ? '' : ' (graver explore switches passes off and on)'}"><i></i>${p.name}${p.enabled ? `<span>${p.fused}</span>` : ''}</button>`).join('');
  const p = current(), was = current(first);
  const change = (now, before, unit) => now === before ? '' : `<small>${now > before ? '+' : '−'}${unit(Math.abs(now - before))}</small>`;
  const rows = [
    ['kernels', p.counts.kernels, change(p.counts.kernels, was.counts.kernels, String)],
    ['barriers', p.counts.barriers, change(p.counts.barriers, was.counts.barriers, String)],
    ['code', bytes(p.code_bytes), change(p.code_bytes, was.code_bytes, bytes)],
    ['arena', bytes(p.arena_bytes), change(p.arena_bytes, was.arena_bytes, bytes)],
  ];
  const step = q => q.blocks.reduce((n, b) => n + b.kernels.reduce((m, k) => m + least(k.cost, about.machine) * b.layers, 0), 0);
  if (about.machine) rows.push(['at least', time(step(p)), change(step(p), step(was), time)]);
  const t = times && times.programs.find(q => q.program === program);
  if (t && t.step_ns) rows.push(['measured', time(t.step_ns), firstStep[program] ? change(t.step_ns, firstStep[program], time) : '']);
  rows.push(['compiled in', `${view.milliseconds.toFixed(0)} ms`, '']);
  $('totals').innerHTML = rows.map(r => `<div><dt>${r[0]}</dt><dd>${r[1]}${r[2]}</dd></div>`).join('');
}

function drawSpine() {
  const p = current();
  const most = Math.max(...p.blocks.flatMap(b => b.kernels.map(k => weight(b, k))), 1e-9);
  const total = p.blocks.reduce((n, b) => n + b.kernels.reduce((m, k) => m + weight(b, k), 0), 0) || 1;
  const html = p.blocks.map((b, bi) => {
    const given = [...new Set(b.kernels.flatMap(k => k.reads.filter(r => r.from === null).map(r => r.name)))];
    const kernels = b.kernels.map((k, ki) => {
      const gap = ki === 0 && !given.length ? '' : k.barrier ? '<div class="barrier" title="threads wait for each other"></div>' : '<div class="together"></div>';
      const t = timesOf(b, k), w = weight(b, k);
      const stripe = k.passes.map(i => `<i class="pass" style="--h:${passHue(i)}"></i>`).join('');
      const atLeast = about.machine ? Math.round(least(k.cost, about.machine)) : 0;
      const number = t ? time(t.median_ns) : atLeast ? `≥ ${time(atLeast)}` : bytes(allBytes(k.cost));
      return `${gap}<button type="button" class="kernel" data-b="${bi}" data-k="${ki}" title="${escape(k.work)}"><span class="stripe">${stripe}</span>` +
        `<b>${escape(k.name || k.op)}</b><span class="op">${escape(k.op)} <span class="dim">${escape(k.shape)}</span></span><span class="num">${number}</span>` +
        `<span class="num2">${(100 * w / total).toFixed(1)} %</span><span class="bar" style="--w:${(97 * w / most).toFixed(1)}%"></span></button>`;
    });
    const times = b.layers === 1 ? '' : `× ${b.layers} layers`;
    const inputs = given.length ? `<div class="given">${given.map(n => `<span data-given="${escape(n)}">${escape(n)}</span>`).join('')}</div>` : '';
    return `<h2>${escape(b.place)}<span>${times}</span></h2><div class="rail" data-b="${bi}"><svg aria-hidden="true"></svg>${inputs}${kernels.join('')}</div>`;
  });
  $('spine').innerHTML = html.join('');
  drawEdges();
}

// Who reads whose result: arcs to the left of the kernels, longer ones further out.
function drawEdges() {
  document.querySelectorAll('.rail').forEach(rail => {
    const b = Number(rail.dataset.b), block = current().blocks[b];
    const middle = e => e.offsetTop + e.offsetHeight / 2;
    const at = [...rail.querySelectorAll('.kernel')].map(middle);
    const given = Object.fromEntries([...rail.querySelectorAll('[data-given]')].map(e => [e.dataset.given, middle(e)]));
    const arcs = block.kernels.flatMap((k, i) => k.reads.map(r => {
      const from = r.from === null ? given[r.name] : at[r.from];
      if (from === undefined) return '';
      const far = r.from === null ? i + 1 : i - r.from;
      const out = 46 - Math.min(42, 8 + 7 * far);
      const on = chosen && chosen.b === b && (chosen.k === i || chosen.k === r.from);
      return `<path class="${on ? 'on' : ''}" d="M46,${from}C${out},${from} ${out},${at[i]} 46,${at[i]}"/>`;
    }));
    rail.querySelector('svg').innerHTML = arcs.sort((a, b) => a.includes('"on"') - b.includes('"on"')).join('');
  });
}

function drawViews() {
  const p = current(), block = p.blocks[chosen.b], kernel = block.kernels[chosen.k];
  const made = kernel.passes.map(i => chip(view.passes[i], i)).join('') || '<span class="chip">as the spec has it</span>';
  $('views').innerHTML = `<div class="title"><h2>${escape(place(block, kernel))}</h2>` +
    `<p><span class="mono">${escape(kernel.op)}</span> → <span class="mono">${escape(kernel.shape)}</span> · ${escape(kernel.work)} · ${block.layers === 1 ? 'once a step' : `${block.layers} times a step`}` +
    `</p><p>${made}</p></div><div class="panels">${originsPanel(kernel, block)}${remarksPanel(kernel, view.passes)}` +
    `${costPanel(kernel, block, p, about, timed())}${codePanels(kernel)}</div>`;
  document.querySelectorAll('.kernel').forEach(e => e.setAttribute('aria-current', Number(e.dataset.b) === chosen.b && Number(e.dataset.k) === chosen.k));
  const hash = new URLSearchParams({ program, kernel: place(block, kernel) });
  if (off().length) hash.set('off', off().join(','));
  history.replaceState(null, '', `#${hash}`);
  drawEdges();
}

// The kernel at a place, or the one that does now what it did, or the largest.
function find(at, origin) {
  const all = current().blocks.flatMap((block, b) => block.kernels.map((kernel, k) => ({ b, k, block, kernel })));
  return all.find(x => place(x.block, x.kernel) === at) || all.find(x => origin && x.b === origin.b && x.kernel.origins.includes(origin.i)) ||
    all.reduce((best, x) => weight(x.block, x.kernel) > weight(best.block, best.kernel) ? x : best);
}

function draw(at, origin) {
  chosen = find(at, origin);
  drawHead();
  drawSpine();
  drawViews();
}

function redraw() {
  const block = chosen && current().blocks[chosen.b], kernel = block && block.kernels[chosen.k];
  draw(kernel && place(block, kernel));
}

// ---- passes switched off and on: somebody compiles
const firstStep = {};
const status = text => { $('status').hidden = !text; $('status').textContent = text || ''; };
async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

async function compile(without) {
  const mine = ++asked, query = without.length ? `?off=${without.join(',')}` : '';
  const block = chosen && current().blocks[chosen.b], kernel = block && block.kernels[chosen.k];
  const origin = kernel && kernel.origins.length ? { b: chosen.b, i: kernel.origins[0] } : null, at = kernel && place(block, kernel);
  status('compiling…');
  try {
    const next = await ask(`view${query}`);
    if (mine !== asked) return;
    view = next;
    times = null;
    draw(at, origin);
    status(about.timed ? 'timing every kernel…' : '');
    document.body.dataset.compiled = without.join(',') || 'all';
    if (about.timed) await measure(query, mine);
  } catch (error) {
    if (mine === asked) status(error.message);
  }
}

async function measure(query, mine) {
  const found = await ask(`times${query}`);
  if (mine !== asked) return;
  times = found;
  if (!query) found.programs.forEach(p => { firstStep[p.program] = p.step_ns; });
  status('');
  redraw();
  document.body.dataset.timed = 'yes';
}

function toggle(name) {
  const now = off();
  return compile(now.includes(name) ? now.filter(n => n !== name) : now.concat(name));
}

document.addEventListener('click', e => {
  const kernel = e.target.closest('.kernel'), pass = e.target.closest('[data-pass]'), tab = e.target.closest('[data-program]');
  if (kernel) {
    chosen = { b: Number(kernel.dataset.b), k: Number(kernel.dataset.k) };
    drawViews();
  } else if (pass && !pass.disabled) {
    toggle(pass.dataset.pass);
  } else if (tab) {
    program = tab.dataset.program;
    redraw();
  }
});
document.addEventListener('keydown', e => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
  if (!step || !e.target.classList || !e.target.classList.contains('kernel')) return;
  const all = [...document.querySelectorAll('.kernel')], next = all[all.indexOf(e.target) + step];
  if (!next) return;
  e.preventDefault();
  next.focus();
  next.click();
});
new ResizeObserver(drawEdges).observe($('spine'));
linkNames($('views'));

const wanted = new URLSearchParams(location.hash.slice(1));
if (view.programs.some(p => p.program === wanted.get('program'))) program = wanted.get('program');
if (times) times.programs.forEach(p => { firstStep[p.program] = p.step_ns; });
draw(wanted.get('kernel'));
if (about.live && wanted.get('off')) compile(wanted.get('off').split(','));
else if (about.timed) { status('timing every kernel…'); measure('', asked).catch(error => status(error.message)); }
document.body.dataset.ready = 'yes';
