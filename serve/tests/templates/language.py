"""Small templates about Jinja and Python themselves."""

SNIPPETS = r"""
{{ s }} {{ u }} {{ n }} {{ f }} {{ l }} {{ d }} {{ t }} {{ z }} {{ missing }}|{{ floats }}
{{ [u, 'a\'b', "a\"b", 'a\\b', '\t\x01\u200b\xe9'] }}
{{ (1,) }} {{ (1, 'a') }} {{ () }} {{ {} }} {{ [] }} {{ {'a': {'b': (1, [])}} }}
{{ d | tojson }} {{ u | tojson }} {{ floats | tojson }} {{ l | tojson }}
{{ d | tojson(indent=2) }}
{{ d | tojson(indent=4, sort_keys=true, separators=(',', '=')) }} {{ [[], {}, [1]] | tojson(indent=1) }}
{{ u | tojson(ensure_ascii=true) }} {{ '<&>\x7f\x00' | tojson }}
{{ missing | tojson }}
{{ s[0] }} {{ s[-1] }} {{ s[1:3] }} {{ s[::-1] }} {{ s[-3:] }} {{ s[:-3] }} {{ s[100:] }} {{ s[5:2] }} {{ s[10:2:-2] }}
{{ l[::-1] }} {{ l[1:] }} {{ l[:1] }} {{ l[-1] }} {{ l[9] }} {{ l[9] is defined }} {{ messages[::2] | length }}
{{ d.a }} {{ d['a'] }} {{ d.items() | list }} {{ d['items'] }} {{ d.get('q') }} {{ d.get('q', 5) }} {{ d.keys() | list }} {{ d.values() | list | length }}
{{ d.a.x }}|
{{ d.q }}|{{ d.q is defined }}|{{ d.items is defined }}|{{ d.items is callable }}
{{ d.q.r }}
{{ missing.x }}
{{ missing + 'a' }}
{{ missing ~ 'a' }}|{{ missing | length }}|{{ missing | upper }}|{{ missing == missing2 }}|{{ not missing }}|{{ 'a' in missing }}
{% for x in missing %}{{ x }}{% else %}none{% endfor %}
{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7 / 2 }} {{ 1.5 + 1 }} {{ 7.5 // 2 }} {{ 7.5 % 2 }}
{{ -n }} {{ +n }} {{ - 3 | abs }} {{ -3 | abs }} {{ 2 * -3 }} {{ 1 - -1 }} {{ -2 ** 2 }}
{{ 1 / 0 }}
{{ 'a' * 3 }} {{ 2 * 'ab' }} {{ [1] * 2 }} {{ 'a' * -1 }}| {{ [1, 2] + [3] }} {{ (1,) + (2,) }}
{{ 'a' + 1 }}
{{ 'a' ~ 1 ~ none ~ true ~ [1] ~ 2.0 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' == 1 }} {{ none == none }} {{ 1 != 2 }}
{{ 'a' < 1 }}
{{ 'ell' in s }} {{ 'x' not in s }} {{ 2 in l }} {{ 'b' in d }} {{ 9 not in l }} {{ 1 in (1, 2) }} {{ not 1 in l }} {{ not (n == 7) }}
{{ 1 and 2 }} {{ 0 or 'x' }} {{ '' or none }} {{ 0 and 1 }} {{ not '' }} {{ 1 if n else 2 }} {{ 1 if not n else 2 }} {{ 'x' if false }}|{{ 1 if false else 2 if false else 3 }}
{{ s | upper | lower | title | capitalize }} {{ '  a b  ' | trim }}| {{ 'xxaxx' | trim('x') }} {{ 'hello world-foo (bar' | title }} {{ "it's" | title }}
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ "it's".title() }} {{ s.swapcase() }} {{ 'abc'.capitalize() }} {{ s.casefold() }}
{{ '  a '.strip() }}|{{ '  a '.lstrip() }}|{{ '  a '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcab'.lstrip('ab') }}|{{ 'a\n'.rstrip('\n') }}|{{ '\n\na'.lstrip('\n') }}
{{ s.split() }} {{ s.split(', ') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a  b '.split() }} {{ 'a  b c'.split(none, 1) }} {{ 'a b  c'.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a,b'.split(sep=',', maxsplit=0) }}
{{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a\nb'.splitlines(true) }} {{ '\n'.splitlines() }} {{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ 'abc'.rpartition('-') }}
{{ s.startswith('He') }} {{ s.endswith('ld') }} {{ s.startswith(('x', 'H')) }} {{ s.find('o') }} {{ s.rfind('o') }} {{ s.find('q') }} {{ s.find('o', 5) }} {{ s.index('W') }} {{ s.count('l') }} {{ s.count('') }} {{ u.find('µ') }}
{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ 'ab'.replace('', '-') }} {{ s | replace('l', 'L', 2) }} {{ 5 | replace(5, 6) }}
{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removeprefix('c') }} {{ ', '.join(words) }} {{ '-'.join('abc') }}
{{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'a'.center(4) }}| {{ 'a'.center(4, '*') }} {{ 'ab'.center(5, '*') }} {{ 'abc'.center(6, '*') }} {{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '.') }}
{{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' '.isspace() }} {{ 'A'.isupper() }} {{ 'a'.islower() }} {{ ''.isdigit() }} {{ 'é'.isascii() }} {{ '½'.isnumeric() }} {{ '½'.isdigit() }} {{ 'A1'.isupper() }}
{{ '{} and {}'.format(1, 'b') }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{x}'.format(x=3) }} {{ '{{}}'.format() }}
{{ '%s is %d, %.2f, %5d|%-5s|%05d|%x|%r|%%' % ('a', 3.7, 2.345, 42, 'ab', -42, 255, 'q') }} {{ '%s' % n }} {{ '%(a)s' % {'a': 1} }} {{ '%s-%s' | format(1, 'x') }} {{ '%e' % 12345.678 }} {{ '%+d' % 5 }}
{{ '%s %s' % (1,) }}
{{ l | sort }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ l | sort(reverse=true) }} {{ people | sort(attribute='age') | map(attribute='name') | list }} {{ people | sort(attribute='name', reverse=true) | map(attribute='age') | join(',') }}
{{ l | first }} {{ l | last }} {{ s | first }} {{ e | first }}| {{ l | max }} {{ l | min }} {{ words | max }} {{ l | sum }} {{ people | sum(attribute='age') }} {{ people | max(attribute='age') }}
{{ l | reverse | list }} {{ s | reverse }} {{ l | join }} {{ l | join('-') }} {{ people | join(', ', attribute='name') }} {{ s | list }} {{ d | list }}
{{ people | selectattr('age', 'gt', 1) | map(attribute='name') | list }} {{ people | rejectattr('age', 'equalto', 1) | list | length }} {{ l | select('odd') | list }} {{ l | reject('eq', 1) | list }} {{ [0, 1, ''] | select | list }} {{ people | selectattr('at') | list | length }} {{ people | map(attribute='at') | list }} {{ people | map(attribute='at.city', default='-') | list }} {{ people | map('length') | list }} {{ words | map('upper') | join }} {{ people | selectattr('at', 'defined') | list | length }}
{{ [1, 1, 2, 'a', 'A'] | unique | list }} {{ people | groupby('age') | map('first') | list }} {{ [1,2,3,4,5] | batch(2) | list }} {{ [1,2,3] | batch(2, 'x') | list }} {{ [1,2,3,4,5] | slice(2) | list }} {{ d | dictsort }} {{ {'b': 1, 'a': 2} | dictsort(by='value') }} {{ d | items | list | length }}
{{ z | default('x') }} {{ z | default('x', true) }} {{ missing | default('x') }} {{ missing | d }}| {{ '' | default('x', boolean=true) }}
{{ '3' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 3.9 | int }} {{ '3.9' | int }} {{ '2.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ 2.567 | round(2) }} {{ 2.5 | round }} {{ 7 | round }} {{ 2.1 | round(method='ceil') }} {{ -3.5 | abs }} {{ 'ff' | int(base=16) }} {{ 3.5 | round }} {{ 2.675 | round(2) }}
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}|{{ 'a\nb' | indent('> ') }}
{{ 'foo bar baz' | truncate(9) }} {{ 'foo bar baz qux' | truncate(9) }} {{ 'foo bar baz qux' | truncate(9, true, '') }} {{ 'a b, c' | wordcount }} {{ 'a' | center(5) }}| {{ '<a href="x">\'&' | escape }} {{ '<' | e }} {{ '<' | safe }}
{{ s | string }} {{ l | string }} {{ 3 | string | length }} {{ u | length }} {{ d | length }} {{ s | count }}
{{ s is string }} {{ n is number }} {{ f is float }} {{ n is integer }} {{ t is boolean }} {{ t is number }} {{ t is integer }} {{ z is none }} {{ d is mapping }} {{ l is sequence }} {{ s is sequence }} {{ d is sequence }} {{ n is sequence }} {{ l is iterable }} {{ s is iterable }} {{ n is iterable }} {{ d is iterable }} {{ missing is iterable }} {{ l is string }}
{{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ n is divisibleby(2) }} {{ n is eq 7 }} {{ n is gt(3) }} {{ n is in [7] }} {{ t is true }} {{ t is false }} {{ 1 is true }} {{ s is lower }} {{ 'A' is upper }} {{ n is not odd }} {{ n is sameas n }} {{ z is not none and n is defined }} {{ range is callable }} {{ s is callable }} {{ l is filter }}
{{ people | map(attribute='at.city') | list }}
{{ none | map('upper') | list }} {{ none | selectattr('x') | list }} {{ 0 | reject('odd') | list }}
{{ x is nonsense }}
{{ x | nonsense }}
{{ nonsense(1) }}
{{ range(3) | list }} {{ range(1, 7, 2) | list }} {{ range(3, 0, -1) | list }} {{ range(0) | list }} {{ dict(a=1, b=2) }} {{ dict({'a': 1}, b=3) }} {{ range(5) | length }}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }};{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for c in 'abc' %}{{ c }}.{% endfor %}
{% for x in l if x > 1 %}{{ x }}{{ loop.index }}{{ loop.last }}{% else %}no{% endfor %}{% for x in e %}{% else %}empty{% endfor %}{% for x in l if x > 9 %}{% else %}nothing{% endfor %}
{% for x in range(9) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in [[1, [2]], [3]] recursive %}{{ loop.depth }}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ x }}{% endif %}{% endfor %}
{% set x = 1 %}{% for y in l %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}
{% set ns = namespace(a=1, b=[]) %}{% for y in l %}{% set ns.a = ns.a + y %}{% set ns.b = ns.b + [y] %}{% endfor %}{{ ns.a }} {{ ns.b }} {{ ns.c }}| {{ ns['a'] }} {{ namespace({'q': 1}).q }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c }}{% set (p, q) = (3, 4) %}{{ p }}{{ q }}
{% set a, b = 1 %}
{% set x %}  text {{ n }} {% endset %}[{{ x }}]{% set y | upper | trim %} abc {% endset %}[{{ y }}]
{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c='y') }} {{ m(b=3, a=4) }} {{ m() }} {{ m(1) | length }} {{ m.name }}
{% macro rec(x) %}{{ x }}{% if x > 0 %}{{ rec(x - 1) }}{% endif %}{% endmacro %}{{ rec(5) }}
{% macro m(x) %}{{ caller() }}-{{ x }}{% endmacro %}{% call m(3) %}inside {{ n }}{% endcall %}{% macro k(x) %}{{ caller(x) }}{% endmacro %}{% call(v) k(3) %}<{{ v }}>{% endcall %}
{% macro m() %}{{ varargs }} {{ kwargs }}{% endmacro %}{{ m(1, 2, a=3) }}
{% set g = 5 %}{% macro m() %}{{ g }}{% endmacro %}{% set g = 6 %}{{ m() }}{% for g in [7] %}{{ m() }}{% endfor %}
{% with a=1, b=n %}{{ a }}{{ b }}{% set c = 3 %}{% endwith %}{{ c }}{{ a }}|
{% filter upper %}abc {{ s }}{% endfilter %}{% block x %}in block{% endblock %}{% generation %}gen {{ n }}{% endgeneration %}
{% raw %}{{ not }} {% this %}{% endraw %} {# comment {{ x }} #}done {{ '{{' }} {{ "%}" }}
{% if n == 7 %}a{% elif n == 8 %}b{% else %}c{% endif %}{% if z %}d{% elif f %}e{% endif %}{% if not z %}f{% endif %}
{{- s -}}  x  {{- n }}   {%- if t %}  y  {%- endif %}  z
{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d %H:%M:%S %A %j %% %B') }}
{{ raise_exception('No: ' + s) }}
{{ messages[0].role }} {{ messages[1].reasoning_content }} {{ messages[1].thinking }} {{ messages | length }} {{ messages[-1]['content'] | trim }} {{ messages[0].tool_calls is defined }} {{ messages[1] }}
{{ tools is defined }} {{ tools }} {{ documents is none }} {{ add_generation_prompt }}
{{ "a" "b" 'c' }} {{ 'line\
joined' }} {{ '\u00e9\x41\101\q' }} {{ 'tab\tnew\nline' }} {{ 1_000 }} {{ 1.5e3 }} {{ 1e2 }} {{ 10.0 }}
{{ l.count(1) }} {{ l.index(2) }} {{ l.0 }} {{ people.0.name }} {{ people[0]['at'].city }} {{ (l | length) - 1 }} {{ l | length - 1 }}
{{ l.append(4) }}
{{ d.update({'x': 1}) }}
{% do l.append(1) %}
{% include 'x' %}
{{ big }} {{ big * 10 }} {{ big + 0.5 }} {{ 10 ** 20 }} {{ 0.1 + 0.2 }} {{ 1e300 * 10 }} {{ 3.0 | int }} {{ 100000000000000000.0 }}
{{ l | map('string') | join(', ') }} {{ (l | map('string')) is iterable }} {{ 'yes' if (e | select) else 'no' }} {{ 'yes' if e else 'no' }}
{{ people[0] | attr('name') }}|{{ s | attr('upper') is callable }}
{{ {'a': 1, 'a': 2} }} {{ {1: 'x', true: 'y'} }} {{ {'a': 1} == {'a': 1.0} }} {{ [1] == (1,) }} {{ {'x': [1, {'y': none}]} | string }}
{{ true and false or true }} {{ True }} {{ None }} {{ False }} {{ none is none }} {{ not none is none }}
{{ loop }}|{% if loop is defined %}{{ 1 }}{% endif %}
{{ s
}}{%
if t
%}multi{% endif
%}
{{ namespace(_x=1) }}
{% for m in messages %}{% if loop.first %}first{% endif %}{{ m.role }}{% if not loop.last %},{% endif %}{% endfor %}
{% for x in l %}{% for y in l %}{{ loop.index }}{{ loop.depth }}{% endfor %}{{ loop.index }};{% endfor %}
{% set x = 5 %}{% for i in l %}{{ x }}{% set x = i %}{% endfor %}{{ x }}
{{ '' ~ {'a': true} ~ (1, none) }} {{ [1.0, 2] | join('|') }} {{ [none, true] | join('|') }} {{ [missing, 1] | join('|') }}
{{ 'é'.encode is defined }} {{ 'ÀÉ'.lower() }} {{ 'ß'.upper() }} {{ 'ſ' | capitalize }}
{{ 5 is number and 'x' is string }} {{ [] is sequence }} {{ () is sequence }} {{ 'x' is mapping }}
{{ 'abc'[1:] ~ 'x'[5:] }} {{ 'abc'['a'] }}|{{ l['x'] }}|{{ n['x'] }}|
{% if 'a' is in ['a'] and not 'b' is in ['a'] %}y{% endif %}{{ ('a' is in ['a']) }}
{{ 1 | default(2) + 3 }} {{ 'a' | upper ~ 'b' | upper }} {{ ['x', 'y'] | join(',') | upper }} {{ -1 | string }} {{ not s is string }}
""".strip("\n").split("\n")

# Some take more than a line: an escape or a line break inside of a tag.
SNIPPETS = [part for part in "\n".join(SNIPPETS).replace("\\\n", "\\\x00").replace("\n}}{%\nif t\n%}multi{% endif\n%}", "\x00}}{%\x00if t\x00%}multi{% endif\x00%}").split("\n")]
SNIPPETS = [part.replace("\x00", "\n") for part in SNIPPETS]
SNIPPETS += [
    "{% if true %}\n  a\n{% endif %}\nb\n",
    "  {% if true %}\n  a\n  {%- endif %}\n  b  \n\n",
    "  {%+ if true %}\n a {%- endif +%}\n b",
    "x\n   {# note #}\n  y {# note -#}   \n z\n {#- note #} w",
    "{% for x in l %}\n  {{ x }}\n{% endfor %}\nend",
    "{%- for x in l -%}\n  {{ x }}\n{%- endfor -%}\n end\n",
    "a\r\nb\rc\r\n",
    "\n\n{{ s }}\n\n",
    "\t {% set x = 1 %}\t \n{{ x }}",
    "{% raw %}\n  {{ x }}\n{% endraw %}\n  y",
    "a   {%- raw -%}   b {%+ endraw +%}\n c",
    "{{ s }}{% if t %}\n\n{% endif %}\n  {{ n }}  {% if t %} x {% endif %}\ny",
    "  {{ s }}\n  {{- n }}\n {{ s -}} \n x",
    "{% if true -%}\n\n  a\n\n{%- endif -%}\n\nb",
    "{% set x %}\n a\n{% endset %}[{{ x }}]",
    "{% macro m() %}\n  a\n{% endmacro %}\n[{{ m() }}]",
    "{% macro m() -%}\n  a\n{%- endmacro %}\n[{{ m() }}]",
    "{% generation %}\n x\n{% endgeneration %}\ny",
    "{%- generation -%}\n x\n{%- endgeneration -%}\ny",
    "{{ s }",
    "{% if %}x{% endif %}",
    "{% if true %}x",
    "{% endif %}",
    "{% for x in %}{% endfor %}",
    "{{ (1 }}",
    "{{ 1) }}",
    "{{ 'abc }}",
    "{# never ends",
    "{% break %}",
    "{% unknown %}",
    "{{ a b }}",
    "{{ }}",
    "{ { } } {a} {",
    "{{ {'a': {'b': 1}}['a'] }} {{ {'a':1}}}",
]
