'use strict';
// What all sections share: numbers, scales, sections, tabs, the tooltip.
const data = JSON.parse(document.getElementById('data').textContent);
const main = document.getElementById('main');

const scaled = (n, unit) => {
  const prefixes = ['', 'k', 'M', 'G', 'T', 'P'];
  let i = 0;
  while (n >= 999.5 && i + 1 < prefixes.length) { n /= 1000; i += 1; }
  return `${i === 0 ? Math.round(n) : n.toPrecision(3)} ${prefixes[i]}${unit}`;
};
const bytes = n => scaled(n, 'B');
const flops = n => scaled(n, 'FLOP');
const count = n => n >= 1e9 ? `${(n / 1e9).toFixed(2)} B` : n >= 1e6 ? `${(n / 1e6).toFixed(1)} M` : String(n);
const digits = n => n >= 1000 ? Math.round(n).toLocaleString('en') : n.toPrecision(3);
const perSecond = n => n >= 100 ? Math.round(n).toLocaleString('en') : n.toPrecision(3);
const time = ns => ns < 1000 ? `${Math.round(ns)} ns` : ns < 1e6 ? `${(ns / 1e3).toPrecision(3)} µs` : ns < 1e9 ? `${(ns / 1e6).toPrecision(3)} ms` : `${(ns / 1e9).toPrecision(3)} s`;
const escape = s => String(s).replace(/[&<>"]/g, c => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);
const kernelBytes = c => c.weight_bytes + c.state_bytes + c.activation_bytes;
const short = (text, n) => text.length > n ? `${text.slice(0, Math.max(1, n - 1))}…` : text;
const sum = list => list.reduce((a, b) => a + b, 0);
// The same colours as in `graver explore`.
const passHue = i => Math.round((i * 137.508 + 250) % 360);
const hueOf = i => Math.round((i * 137.508 + 20) % 360);

const linear = ([d0, d1], [r0, r1]) => v => r0 + (r1 - r0) * (v - d0) / ((d1 - d0) || 1);
const logarithmic = ([d0, d1], [r0, r1]) => v => r0 + (r1 - r0) * Math.log(v / d0) / Math.log(d1 / d0);
// Round numbers from 0 to `most`, some `n` of them.
function ticks(most, n) {
  const raw = most / n, ten = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 5, 10].map(f => f * ten).find(s => s >= raw) || ten;
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
}
function powers(low, high) {
  const out = [];
  for (let e = Math.ceil(Math.log10(low) - 1e-9); 10 ** e <= high * 1.0001; e++) out.push(10 ** e);
  return out;
}
const tickText = v => v >= 1000 ? `${+(v / 1000).toPrecision(3)}k` : String(+v.toPrecision(3));

function add(parent, tag, attributes = {}, html = '') {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) e.setAttribute(name, value);
  e.innerHTML = html;
  parent.append(e);
  return e;
}

function section(id, title, text) {
  add(document.getElementById('nav'), 'a', { href: `#${id}` }, escape(title));
  const s = add(main, 'section', { id });
  add(s, 'h2', {}, escape(title));
  add(s, 'p', {}, text);
  return s;
}

function tabs(parent, names, choose) {
  const bar = add(parent, 'div', { class: 'tabs', role: 'tablist' });
  const pick = name => {
    bar.querySelectorAll('button').forEach(b => b.setAttribute('aria-selected', b.textContent === name));
    choose(name);
  };
  names.forEach(name => add(bar, 'button', { type: 'button', role: 'tab' }, escape(name)).addEventListener('click', () => pick(name)));
  return pick;
}

// Charts are drawn to the width that they have, so that text keeps its size, and again when that changes.
const again = new WeakMap();
const sizes = new ResizeObserver(entries => entries.forEach(e => {
  const known = again.get(e.target), width = e.target.clientWidth;
  if (!known || known.width === width || !width) return;
  known.width = width;
  known.draw();
}));
function onWidth(box, draw) {
  again.set(box, { draw, width: box.clientWidth });
  draw();
  sizes.observe(box);
}
function chart(parent, draw) {
  const box = add(parent, 'div', { class: 'chart' });
  onWidth(box, () => { box.innerHTML = draw(Math.max(240, box.clientWidth), box); });
  return box;
}

// Follows the pointer, stays inside the window: says what `data-tip` has.
const tip = document.getElementById('tip');
document.addEventListener('mousemove', event => {
  const about = event.target.closest && event.target.closest('[data-tip]');
  tip.hidden = !about;
  if (!about) return;
  tip.innerHTML = about.dataset.tip;
  const box = tip.getBoundingClientRect();
  const x = Math.min(event.clientX + 14, innerWidth - box.width - 8);
  const y = event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18;
  tip.style.left = `${Math.max(8, x)}px`;
  tip.style.top = `${Math.max(8, y)}px`;
});

const legend = (parent, items) => add(parent, 'div', { class: 'legend' },
  items.map(i => `<span class="hue" style="--h:${i.hue}"${i.about ? ` title="${escape(i.about)}"` : ''}><i${i.hue === null ? ' style="background:var(--faint)"' : ''}></i>${escape(i.name)}</span>`).join(''));
