'use strict';
// Code as HTML: Cranelift's text and machine code, their comments coloured by what they name.
const escape = s => String(s).replace(/[&<>"]/g, c => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);

const KINDS = [[/^kernels\./, 'kernels'], [/^arena\[/, 'arena'], [/^scratch\[/, 'scratch'], [/^state\[|^offset of state/, 'state'],
  [/^@|^pointer of @/, 'weight']];
const kindOf = name => (KINDS.find(([test]) => test.test(name)) || [0, 'other'])[1];
// What is the same thing wherever it is reached: without how far into it.
const stem = name => name.replace(/^(pointer|offset) of /, '').replace(/(\+\d+)?…?$/, '');

function named(text) {
  return `<span class="n-${kindOf(text)}" data-n="${escape(stem(text))}">${escape(text)}</span>`;
}

// A comment: one name, or a call of one with others as arguments.
function note(text) {
  const call = /^([\w.]+)\((.*)\)$/.exec(text);
  if (!call) return named(text);
  const args = call[2] === '' ? [] : call[2].split(', ');
  const shown = args.map(a => /^(-?\d+|_)$/.test(a) ? `<span class="dim">${escape(a)}</span>` : named(a));
  return `${named(call[1])}(${shown.join('<span class="dim">, </span>')})`;
}

// The last comment of a line is ours, unless it repeats a constant as Cranelift does.
function comments(line) {
  const parts = line.split('  ; ');
  const own = parts.length > 1 && !/^v\d+ = /.test(parts[parts.length - 1]) ? parts.pop() : '';
  return [parts.join('  ; ').trimEnd(), own];
}

const FLAGS = / (notrap|aligned|readonly|can_move)(?= )/g;

function clifHtml(text) {
  return text.trimEnd().split('\n').map(line => {
    const [all, comment] = comments(line), code = all.replace(FLAGS, '');
    const shown = /^(function|block)/.test(code) ? `<span class="head">${escape(code)}</span>`
      : /^    (sig|fn|gv)\d/.test(code) ? `<span class="dim">${escape(code)}</span>`
        : escape(code).replace(/  ; .*$/, c => `<span class="dim">${c}</span>`);
    const gap = ' '.repeat(Math.max(2, 36 - code.length));
    return `<span class="l" title="${all.length > code.length ? escape(all.trim()) : ''}">${shown}${comment ? `${gap}${note(comment)}` : ''}</span>`;
  }).join('');
}

const loopHue = depth => [265, 200, 150, 90, 40][depth % 5];

function gutter(line, loops) {
  const shown = line.loops.slice(0, 4);
  const marks = shown.map((l, depth) => {
    const [first, last] = loops[l];
    const mark = [line.address === first && 'first', line.address === last && 'last'].filter(Boolean).join(' ');
    return `<i class="${mark}" style="--h:${loopHue(depth)}"></i>`;
  });
  return `<span class="g">${marks.join('')}</span>`;
}

function asmHtml(asm) {
  const long = Math.min(34, Math.max(...asm.lines.map(l => l.note ? l.text.length : 0), 20));
  return asm.lines.map(l => {
    const depth = Math.min(3, l.loops.length);
    const jump = /^(j\w+) (0x[0-9a-f]+|\d)$/.exec(l.text);
    const text = jump ? `${jump[1]} <span class="jump" data-to="${Number(jump[2])}">${jump[2]}</span>${' '.repeat(Math.max(0, long - l.text.length))}`
      : escape(l.text.padEnd(l.note ? long : 0));
    return `<span class="l${depth ? ` d${depth}` : ''}" data-a="${l.address}">${gutter(l, asm.loops)}<span class="a">${l.address.toString(16).padStart(5)}</span>  ` +
      `<span class="b" title="${l.bytes}">${l.bytes}</span><span class="opc">${text}</span>${l.note ? `  ${note(l.note)}` : ''}</span>`;
  }).join('');
}

// What is named where the pointer is, is marked wherever it is named.
function linkNames(root) {
  const mark = (name, on) => root.querySelectorAll('[data-n]').forEach(e => {
    if (e.dataset.n === name) e.classList.toggle('hit', on);
  });
  root.addEventListener('mouseover', e => { if (e.target.dataset && e.target.dataset.n) mark(e.target.dataset.n, true); });
  root.addEventListener('mouseout', e => { if (e.target.dataset && e.target.dataset.n) mark(e.target.dataset.n, false); });
  root.addEventListener('click', e => {
    if (!e.target.dataset || e.target.dataset.to === undefined) return;
    const line = root.querySelector(`.l[data-a="${e.target.dataset.to}"]`);
    if (line) line.scrollIntoView({ block: 'center' });
  });
}
