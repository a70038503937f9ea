"""Small templates for the comparison with Jinja2: each renders alike in both, or fails in both."""

VARIABLES = {
    "s": "Hello, World",
    "empty": "",
    "blank": " \t x y\n ",
    "uni": "Straße ÉCOLE ΟΔΟΣ ﬁn 日本語 🙂",
    "quotes": "it's \"so\"\\ \n\t\x01\u00a0\u200b",
    "i": 7,
    "neg": -3,
    "f": 2.5,
    "big": 9007199254740993,
    "yes": True,
    "no": False,
    "nil": None,
    "xs": [3, 1, 2],
    "words": ["b", "A", "c", "a"],
    "nested": [[1, 2], [3, [4, 5]]],
    "none_list": [],
    "d": {"a": 1, "b": [1, 2], "c": {"x": None}},
    "keys": {"items": 5, "keys": 6, "get": 7},
    "people": [
        {"name": "Ann", "age": 30, "tags": ["x"]},
        {"name": "bob", "age": 25},
        {"name": "Cyd", "age": 30, "tags": []},
    ],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": ""},
    ],
    "html": "<a href='x'>&\"</a>",
}

EXPRESSIONS = r"""
1 + 2 * 3
(1 + 2) * 3
7 // 2
-7 // 2
7 // -2
-7 % 3
7 % -3
-7.5 % 2
7.5 // 2
-7.5 // 2
7 / 2
6 / 3
2 ** 10
2 ** -1
2 ** 3 ** 2
-2 ** 2
0.1 + 0.2
1e16
1e15
123456789012345680.0
1e-5
0.0001
1.5e300 * 1e10
1_000
0x1f + 0b11 + 0o17
5.0
-0.0
1 / 0
1 // 0
1 % 0
0 ** -1
'a' + 1
1 + 'a'
'a' * 3
3 * 'a'
'a' * -1
[1] * 2
(1,) * 2
[1] + [2]
(1,) + (2,)
[1] + (2,)
'a' ~ 1 ~ none ~ true ~ 1.0
1 ~ 2
true + true
true == 1
1 == 1.0
'1' == 1
none == false
[1, 2] == [1, 2]
(1, 2) == [1, 2]
{'a': 1} == {'a': 1.0}
1 < 2 < 3
1 < 3 < 2
1 < 2 > 1
'a' < 'b'
'a' < 1
none < 1
[1, 2] < [1, 3]
[1] < [1, 0]
(1, 'a') < (1, 'b')
1 in [1, 2]
'1' in [1, 2]
'lo' in s
1 in s
'' in s
'a' in d
'z' not in d
1 in nil
1 in undefined_thing
3 in xs and 4 not in xs
not yes
not not no
yes and no
yes or undefined_thing.x
no and undefined_thing.x
none or 'default'
0 or '' or [] or 'last'
1 and 2
'' and 2
s if yes else 'n'
s if no
(s if no) is defined
'a' if no else 'b' if no else 'c'
i if i > 5 else neg
s[0]
s[-1]
s[100]
s[1:4]
s[::-1]
s[::2]
s[-3:]
s[:-3]
s[5:2]
s[10:100]
s[-100:3]
s[::-2]
s[8:2:-2]
uni[::-1]
uni[1:9]
uni[4]
xs[0]
xs[-1]
xs[5]
xs[5] is defined
xs[5].foo
xs['a']
xs[1.0]
xs[true]
xs[1:]
xs[::-1]
xs[:2]
xs[::0]
xs['a':]
nil[1:]
d[1:]
i[0]
i.foo
nil.foo
nil.foo.bar
undefined_thing
undefined_thing.foo
undefined_thing['foo']
undefined_thing + 1
-undefined_thing
undefined_thing == undefined_thing
undefined_thing == none
undefined_thing < 1
undefined_thing()
undefined_thing[1:]
s()
d.a
d['a']
d.zzz
d.zzz is none
d['zzz']
d.c.x
d.b[1]
d[1]
d[[1]]
d.items is defined
keys.items is callable
keys['items']
keys['get']
keys.foo
d.get('a')
d.get('q')
d.get('q', 5)
d.get()
d.keys()
d.values()
d.items()
d.keys()|list
d.items()|list
d.keys()[0]
d.items()|first
d.keys()|length
d.update({'z': 1})
d.pop('a')
xs.append(4)
xs.append
xs.count(1)
xs.index(2)
xs.index(20)
d.copy()
nested[1][1][0]
nested.1.0
people[0].name
people[1].tags
people[1].tags is defined
people[0]['tags'][0]
[1, 'a', none, true, 1.5, [2], (3,), (), {'k': 'v'}]
{'a': 1, 2: 'b', none: 3, true: 4}
{'a': 1, 'a': 2}
{[1]: 2}
{(1, 2): 3}
()
(1)
(1,)
1, 2
[]
{}
[1, 2,]
{'a': 1,}
quotes
[quotes]
['\'', "'", '"', '\'"']
'a' 'b' "c"
'\n\t\\\x41\u00e9\U0001F642\101\q'
"it's"
'line\
next'
[1, 2][0]
'abc'[1]
'abc'.upper()
'abc' .upper()
s.upper()
s.lower()
s.title()
s.capitalize()
uni.upper()
uni.lower()
uni.title()
uni.capitalize()
'ß ŉ ǰ ǆ ΐ ﬃ'.upper()
'ß ŉ ǰ ǆ ΐ ﬃ'.title()
'İI ΑΣ. ΑΣΑ Σ'.lower()
'they\'re bill\'s x2y'.title()
'ǆ'.capitalize()
blank.strip()
blank.lstrip()
blank.rstrip()
'xxhixx'.strip('x')
'xyhixy'.strip('yx')
'xxhixx'.lstrip('x')
'xxhixx'.rstrip('x')
'\u00a0\u2003a\x1c\u200b'.strip()
'日本日'.strip('日')
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
'a,b,,c'.rsplit(',', 1)
'a,b'.split(sep=',', maxsplit=0)
' a  b\tc '.split()
' a  b\tc '.split(none, 1)
' a  b c '.rsplit(none, 1)
''.split()
''.split(',')
'abc'.split('')
'a\nb\r\nc\x0bd\u2028e'.splitlines()
'a\n\nb\n'.splitlines()
','.join(['a', 'b'])
','.join([1])
','.join('abc')
''.join([])
s.replace('o', '0')
s.replace('o', '0', 1)
'aaa'.replace('aa', 'b')
'abc'.replace('', '-')
'abc'.replace('', '-', 2)
'日本'.replace('', '.')
s.startswith('Hell')
s.startswith(('x', 'He'))
s.startswith('World', 7)
s.startswith('ll', 2, 4)
s.endswith('ld')
s.endswith(('x', 'ld'))
s.endswith([])
s.find('o')
s.find('o', 5)
s.find('zz')
s.rfind('o')
s.index('W')
s.index('zz')
s.count('l')
s.count('')
'aaaa'.count('aa')
uni.find('日')
uni.rfind('O')
uni.count('O')
'abc'.isalpha()
'12'.isdigit()
'a1'.isalnum()
' \t'.isspace()
'AB'.isupper()
'ab1'.islower()
''.isalpha()
'日本'.isalpha()
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('-')
'abc'.rpartition('-')
'prefix-x'.removeprefix('prefix-')
'x.json'.removesuffix('.json')
'7'.zfill(3)
'-7'.zfill(4)
'ab'.ljust(5) ~ '|'
'ab'.rjust(5, '*')
'ab'.ljust(1)
'{} and {}'.format(1, 'x')
'{0}{1}{0}'.format('a', 'b')
'{name}: {v!r}'.format(name='n', v='q')
'{{}}'.format()
'{}'.format()
'{:.2f}'.format(3.14159)
'%s is %d' % ('x', 3)
'%s' % 'x'
'%s' % [1]
'%%'  % ()
'%.2f' % 2.675
'%r' % 'q'
'%d' % 'x'
'%s %s' % ('a',)
'%s' % ('a', 'b')
'%(k)s' % {'k': 'v'}
s.foo
s.foo()
s.encode is defined
s.__class__
s|length
uni|length
i|length
xs|length
d|length
undefined_thing|length
none|length
xs|count
s|upper
uni|upper
uni|title
'foo-bar (baz) <x> [y] {z} a_b'|title
'hello wORLD'|title
'hELLO'|capitalize
5|upper
nil|upper
blank|trim
'xxaxx'|trim('x')
5|trim
xs|first
xs|last
none_list|first
none_list|last
none_list|first is defined
s|first
s|last
d|first
d|last
undefined_thing|first
undefined_thing|last
xs|list
s|list
d|list
i|list
xs|join
xs|join(', ')
xs|join(d='-')
people|join(', ', attribute='name')
s|join('.')
d|join(',')
nested|join
i|join
xs|reverse|list
s|reverse
uni|reverse
d|reverse|list
xs|sort
xs|sort(reverse=true)
words|sort
words|sort(case_sensitive=true)
people|sort(attribute='age')
people|sort(attribute='age,name')
people|sort(attribute='age', reverse=true)
[1, 'a']|sort
[3, 1.5, true]|sort
xs|min
xs|max
none_list|min
words|min
words|max
people|max(attribute='age')
xs|sum
none_list|sum
people|sum(attribute='age')
xs|sum(start=10)
words|sum
[1, 1, 2, 'a', 'A']|unique|list
[1, 1, 2, 'a', 'A']|unique(true)|list
people|unique(attribute='age')|list
[[1]]|unique|list
people|map(attribute='name')|list
people|map(attribute='tags')|list
people|map(attribute='tags', default='none')|list
people|map(attribute='tags.0')|list
words|map('upper')|list
words|map('replace', 'a', 'z')|join
words|map|list
words|map('nonexistent')|list
xs|map('string')|join('+')
xs|select('odd')|list
xs|select('gt', 1)|list
xs|select|list
xs|reject('odd')|list
xs|reject('in', [1, 2])|list
[0, 1, '', 'a', none]|select|list
[0, 1, '', 'a', none]|reject|list
people|selectattr('tags')|map(attribute='name')|list
people|selectattr('age', 'equalto', 30)|map(attribute='name')|list
people|selectattr('age', '==', 30)|list|length
people|rejectattr('age', 'gt', 26)|map(attribute='name')|list
people|rejectattr('tags', 'defined')|map(attribute='name')|list
people|selectattr|list
messages|selectattr('role', 'equalto', 'system')|list|length > 0
(messages|selectattr('role', 'equalto', 'nobody')) is true
xs|select('odd')|length
'yes' if xs|select('gt', 100) else 'no'
xs|map('nonexistent')|first
d|items|list
undefined_thing|items|list
i|items|list
d|dictsort
{'b': 1, 'A': 2, 'a': 3}|dictsort
{'b': 1, 'A': 2, 'a': 3}|dictsort(true)
{'b': 1, 'A': 2}|dictsort(by='value')
{'b': 1, 'A': 2}|dictsort(by='other')
{'b': 1, 'A': 2}|dictsort(reverse=true)
undefined_thing|default('x')
undefined_thing|default
d.zzz|d('x')
empty|default('x')
empty|default('x', true)
nil|default('x')
nil|default('x', boolean=true)
s|default('x')
'42'|int
'42.9'|int
' 42 '|int
'abc'|int
'abc'|int(5)
'1_000'|int
'ff'|int(base=16)
'0xff'|int(base=16)
'0b11'|int(0, 2)
3.99|int
-3.99|int
true|int
none|int
undefined_thing|int
'3.5'|float
'abc'|float
'abc'|float(1.5)
'1e3'|float
' .5 '|float
'inf'|float
'nan'|float
5|float
none|float
-5|abs
5.5|abs
-true|abs
'a'|abs
2.567|round
2.567|round(2)
2.5|round
3.5|round
2.567|round(1, 'floor')
2.511|round(1, 'ceil')
5|round
1234|round(-2)
2.675|round(2)
'a'|round
s|replace('o', '0')
s|replace('o', '0', 1)
i|replace('7', '8')
5|string
none|string ~ '!'
html|e
html|escape
html|safe
i|e
s|tojson
d|tojson
quotes|tojson
uni|tojson
html|tojson
1.0|tojson
1e20|tojson
none|tojson
(1, 2)|tojson
d|tojson(indent=2)
d|tojson(indent='--')
none_list|tojson(indent=2)
{}|tojson(indent=2)
{'a': {}, 'b': []}|tojson(indent=4)
{'b': 1, 'a': 2}|tojson(sort_keys=true)
d|tojson(separators=(',', ':'))
uni|tojson(ensure_ascii=true)
{1: 2, none: 3, true: 4, 1.5: 5}|tojson
undefined_thing|tojson
{(1, 2): 3}|tojson
xs|map('string')|tojson
'a\nb\n\nc'|indent
'a\nb\n\nc'|indent(2, true)
'a\nb\n\nc'|indent(2, true, true)
'a\nb\n\nc'|indent('> ', blank=true)
'a\n'|indent(2)
''|indent
i|indent
'%s-%s'|format('a', 'b')
'%(x)s'|format(x=1)
s|nonexistent
s is nonexistent
s|upper()
s|upper(1)
s|replace('a')
xs|join(wrong=1)
s is string
i is string
i is number
f is number
yes is number
i is integer
yes is integer
f is float
yes is boolean
nil is none
none is none
nil is not none
undefined_thing is none
undefined_thing is defined
undefined_thing is not defined
undefined_thing is undefined
d is mapping
xs is mapping
xs is sequence
s is sequence
d is sequence
i is sequence
d.keys() is sequence
range(3) is sequence
xs is iterable
i is iterable
undefined_thing is iterable
undefined_thing is sequence
i is odd
i is even
i is divisibleby 7
i is divisibleby(2)
f is odd
s is odd
yes is true
yes is false
1 is true
no is false
s is upper
'AB' is upper
'ab' is lower
i is eq 7
i is equalto 7
i is ne 7
i is gt 5
i is ge 7
i is lt 5
i is le 7
i is greaterthan 5
i is lessthan 5
i is in [7]
i is not in [7]
'a' is in d
nil is sameas none
yes is sameas true
1 is sameas true
'upper' is filter
'nope' is filter
'odd' is test
s.upper is callable
s is callable
range is callable
i is defined and i > 3
not i is odd
i is odd is true
range(3)|list
range(1, 4)|list
range(10, 0, -3)|list
range(3)
range(1, 7, 2)
range(3)[1]
range(0)|length
range(5)[1:3]|list
2 in range(3)
range(3)|last
range('a')
range()
range(0, 1, 0)
range(1000000)
dict(a=1, b=2)
dict([('a', 1)])
dict({'x': 1}, y=2)
dict()
dict(1)
namespace(a=1).a
namespace(a=1).b is defined
namespace(_a=1)
namespace({'x': 3}).x
namespace(a=1)['a']
namespace(a=1)
raise_exception('no way')
strftime_now('%Y') | length
strftime_now('%d %b %Y')
strftime_now('100%% %A')
foo
foo.bar is defined
loop is defined
true.foo
True
None
False
[true, false, none]
1 if true
(1, 2)[0]
[1, 2, 3][1:][0]
{'a': [1, {'b': 2}]}.a[1].b
{'a': 1}['a']
{'a': 1}.get('b', 'c') ~ 'd'
('a', 'b')|join
'abc'|list|join('-')
'a' in ['a'] and 'b' not in ['a']
xs|sort|first + xs|sort|last
-xs|first
- 5|abs
2 * 3|string
'x' ~ 2 * 3
'x' ~ 1 + 2
1 + 1 ~ 'x'
s|length > 3
s|length - 3
not s|length > 3
s.split(',')[0]
s.split(',')[-1].strip()
s.split(', ')|map('lower')|join('_')
(s ~ '!').upper()
(1 + 2)|string ~ 'x'
s.upper().lower().title()
people|map(attribute='name')|map('upper')|join(',')
people|length
people|first
(people|first).name
people[::-1][0].name
people[1:]|map(attribute='name')|join
messages[0]['role'] == 'system'
messages[0].content.strip()
messages[1:]|length
messages[-1].content == ''
9223372036854775807
1 is divisibleby 0
'a' is divisibleby 2
xs is eq [3, 1, 2]
*xs
a b
1 +
(1
[1
{'a' 1}
{'a': }
'unclosed
1 | 
x is
x.
x[
x[]
x[1:2:3:4]
f(a=1, 2)
f(**d, 1)
@
1 if
a = 1
not
007
1.
1.e5
1..real
"a" if "b" else
xs[0]xs
$
""".strip("\n").split("\n")
# A string that goes on in the next line of its literal.
_at = EXPRESSIONS.index("'line\\")
EXPRESSIONS[_at : _at + 2] = ["'line\\\nnext'"]

TEMPLATES = [
    "",
    "plain text",
    "a\n",
    "a\n\n",
    "a\r\nb\rc\n",
    "{{ 1 }}\n",
    "  {% if yes %}  \n  x\n  {% endif %}\n  y\n",
    "  {%- if yes -%}  \n  x\n  {%- endif -%}\n  y\n",
    "  {%+ if yes +%}  \n  x\n  {%+ endif +%}\n  y\n",
    "a {% if yes %} b {% endif %} c",
    "a\n   {{ 1 }}\n   b",
    "a \n {{- 1 -}} \n b",
    "a {{+ 1 }} b",
    "{{-5}}",
    "x{# a comment #}y",
    "x\n  {# a comment #}\n  y",
    "x {#- a\ncomment -#} y",
    "x {#-#} y",
    "{# unclosed",
    "{% if yes %}unclosed",
    "{{ unclosed",
    "{% endif %}",
    "{% else %}",
    "{% unknown %}",
    "{% raw %}{{ not }} {% if %}{% endraw %}",
    "  {% raw %}\n {{ x }} \n {% endraw %}\n  z",
    "  {%- raw -%}\n {{ x }} \n {%- endraw -%}\n  z",
    "{% raw %}never closed",
    "{% raw %} {% endrawx %} {% endraw %}",
    "{{ '{{' }}{{ '}}' }}{{ \"%}\" }}",
    "{{ {'a': {'b': 1}}.a.b }}",
    "{{ {'a': 1} }}",
    "{% set x = {'a': {}} %}{{ x }}",
    "{ { % # } %} }}",
    "a {{ 1 }}{% if no %}b{% elif yes %}c{% else %}d{% endif %}",
    "{% if no %}b{% elif no %}c{% else %}d{% endif %}",
    "{% if no %}b{% endif %}!",
    "{% if 1, 2 %}tuple{% endif %}",
    "{% if %}{% endif %}",
    "{% for x in xs %}{{ x }},{% endfor %}",
    "{% for x in xs %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }} {% endfor %}",
    "{% for x in xs %}{{ loop.previtem }}<{{ x }}<{{ loop.nextitem }} {% endfor %}",
    "{% for x in xs %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}",
    "{% for x in xs %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {% endfor %}",
    "{% for x in xs %}{% for y in xs %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}{{ loop.depth }}{% endfor %}",
    "{% for x in none_list %}x{% else %}empty{% endfor %}",
    "{% for x in xs if x > 1 %}{{ loop.index }}:{{ x }}:{{ loop.last }} {% else %}none{% endfor %}",
    "{% for x in xs if x > 10 %}x{% else %}none{% endfor %}",
    "{% for x in xs if x > 1 %}{{ loop.length }}{{ loop.revindex }}{% endfor %}",
    "{% for x in xs if loop.index > 1 %}{{ x }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}",
    "{% for (a, (b, c)) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [[1, 2, 3]] %}{{ a }}{% endfor %}",
    "{% for a, b in [[1]] %}{{ a }}{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for c in uni %}{{ c }}.{% endfor %}",
    "{% for x in undefined_thing %}x{% else %}nothing{% endfor %}",
    "{% for x in nil %}x{% endfor %}",
    "{% for x in i %}x{% endfor %}",
    "{% for x in 1, 2 %}{{ x }}{% endfor %}",
    "{% for x in xs|sort %}{{ x }}{% endfor %}",
    "{% for x in xs|map('string') %}{{ x }}{{ loop.length }}{% endfor %}",
    "{% for loop in xs %}{{ loop }}{% endfor %}",
    "{% for true in xs %}{% endfor %}",
    "{% for x in xs %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in xs %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in xs %}{% for y in xs %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor %}|{% endfor %}",
    "{% break %}",
    "{% macro m() %}{% continue %}{% endmacro %}",
    "{% for x in xs %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
    "{% for x in xs %}{% set y = x %}{% endfor %}{{ y }}",
    "{% set y = 0 %}{% for x in xs %}{{ y }}{% set y = x %}{{ y }}{% endfor %}{{ y }}",
    "{% set ns = namespace(n=0) %}{% for x in xs %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}",
    "{% set ns = namespace(found=false) %}{% for x in xs if not ns.found %}{{ x }}{% if x == 1 %}{% set ns.found = true %}{% endif %}{% endfor %}",
    "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a + ns.b }}",
    "{% set d.a = 5 %}{{ d.a }}",
    "{% set undefined_thing.a = 5 %}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a = 1, 2 %}{{ a }}",
    "{% set a = (1, 2) %}{{ a[1] }}",
    "{% set x %}a{{ i }}b{% endset %}{{ x }}",
    "{% set x | upper %}a{{ s }}{% endset %}{{ x }}",
    "{% set x | trim | replace('a', 'b') %} aaa {% endset %}[{{ x }}]",
    "{% set x %}{% set y = 1 %}{% endset %}{{ y is defined }}",
    "{% set none = 1 %}",
    "{% set 1 = 1 %}",
    "{% set s = s ~ '!' %}{{ s }}",
    "{% if yes %}{% set z = 1 %}{% endif %}{{ z }}",
    "{% if no %}{% set z = 1 %}{% endif %}{{ z }}",
    "{{ q }}{% set q = 1 %}{{ q }}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}",
    "{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a }}",
    "{% with a = 1 %}{% with b = a %}{{ b }}{% endwith %}{% endwith %}",
    "{% filter upper %}abc {{ s }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}aaa{% endfilter %}",
    "{% filter upper %}{% set w = 1 %}{% endfilter %}{{ w is defined }}",
    "{% macro m(a, b=2, c='x') %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c='y') }} {{ m(b=5, a=4) }}",
    "{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m() }}",
    "{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro m(a, b) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, 4, z=5) }}",
    "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(3) }}",
    "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro m() %}{{ s }}{{ late }}{% endmacro %}{% set late = 5 %}{{ m() }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}g{% endmacro %}{{ f() }}",
    "{{ m() }}{% macro m() %}{% endmacro %}",
    "{% macro m() %}{% set inner = 1 %}{% endmacro %}{{ m() }}{{ inner is defined }}",
    "{% for x in xs %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro m() %}{{ x }}{% endmacro %}{% for x in xs %}{{ m() }}.{% endfor %}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}body {{ s }}{% endcall %}",
    "{% macro m(x) %}<{{ caller(x, 2) }}>{% endmacro %}{% call(a, b) m(1) %}{{ a }}{{ b }}{% endcall %}",
    "{% macro m() %}no caller{% endmacro %}{% call m() %}x{% endcall %}",
    "{% macro m() %}{{ caller }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}",
    "{% call s.upper() %}x{% endcall %}",
    "{% call 5 %}x{% endcall %}",
    "{% macro m() %}  a  {% endmacro %}[{{ m()|trim }}]{{ m()|length }}{{ m() is string }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(*[1]) }}{{ m(**{'a': 2}) }}",
    "{% generation %}said {{ s }}{% endgeneration %}!",
    "{% generation %}{% set g = 1 %}{% endgeneration %}{{ g is defined }}",
    "{% for m in messages %}{% generation %}{{ loop.index }}{{ m.role }}{% endgeneration %}{% endfor %}",
    "  {% generation %}\n  a\n  {% endgeneration %}\n  b",
    "{{ raise_exception('bad ' ~ s) }}",
    "{% if no %}{{ raise_exception('bad') }}{% endif %}fine",
    "{% if no %}{{ s|nonexistent }}{% endif %}fine",
    "{{ 'é' ~ 'ü' }}ñ{# ö #}日本",
    "{%set x=1%}{%if x==1%}y{%endif%}",
    "{%- set x = 1 %}\n{{- x }}\n\n{%- if x %}\n  a\n{%- endif %}",
    "{{\n  s\n  | upper\n}}",
    "{% for m in messages %}\n{{ m.role }}: {{ m.content }}\n{% endfor %}\nend",
    "{% for m in messages -%}\n{{ m.role }}: {{ m.content }}\n{%- endfor %}\nend",
    "{%- for m in messages %}\n    {%- if m.role == 'user' %}\n        {{- '[U]' + m.content }}\n    {%- else %}\n        {{- '[A]' + m.content + '\\n' }}\n    {%- endif %}\n{%- endfor %}\n",
    "{% for x in xs: %}{{ x }}{% endfor %}",
    "{% set total = namespace(value=0) %}{% for p in people %}{% set total.value = total.value + p.age %}{% endfor %}{{ total.value }}",
    "{% set ns = namespace(items=[]) %}{% for x in xs %}{% set ns.items = ns.items + [x * 2] %}{% endfor %}{{ ns.items }}",
    "{% for m in messages[::-1] %}{{ loop.index0 }}{{ m.role }} {% endfor %}",
    "{% for m in messages %}{% if loop.index0 is even %}e{% else %}o{% endif %}{% endfor %}",
    "{% for x in xs %}{{ loop }}{% endfor %}",
    "{% set loop = 5 %}{{ loop }}{% for x in [1] %}{{ loop.index }}{% endfor %}{{ loop }}",
    "{% for x in [1] %}{% set loop = 2 %}{% endfor %}",
    "{% for x in xs %}{% for y in [1] %}{{ x }}{{ y }}{{ loop.length }}{% endfor %}{{ loop.length }}{% endfor %}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% import 'x' as y %}",
    "{% do 1 %}",
    "{{ 1 }} {{ 2 }",
    "{% if yes }x{% endif %}",
    "\ufeffbom",
    "a\x0bb\x0c{{ 1 }}",
    "   {{ 1 }}   {% if yes %}   x   {% endif %}   ",
    "\u00a0\u2003{%- if yes -%}\u00a0\u2003x{% endif %}",
    "\u00a0{% if yes %}x{% endif %}\n\u2003{% if yes %}y{% endif %}",
    "{% if yes %}\n\nx{% endif %}",
    "x{% if yes +%}\n{% endif %}y",
    "{% if yes -%}\n\n  x\n\n  {%- endif %}",
    "{{ s }}\n{# c #}\n{{ s }}",
    "{{ s }}\n  {# c +#}\n{{ s }}",
    "{%- macro tool(t) -%}\n  {{- t.name }}: {{ t.age }}\n{%- endmacro -%}\n{% for p in people %}{{ tool(p) }};{% endfor %}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('|') }}",
    "{% set sys = messages | selectattr('role', 'equalto', 'system') | list %}{{ sys[0].content if sys else 'none' }}",
    "{% set rest = messages[1:] if messages[0].role == 'system' else messages %}{{ rest | length }}",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% endif %}{{ loop_messages|length }}{{ system }}",
    "{% if (messages[1]['role'] == 'user') != (1 % 2 == 0) %}alternate{% endif %}",
    "{% if tools is not none and tools is defined and tools | length > 0 %}t{% else %}n{% endif %}",
    "{% for x in range(100001) %}{% endfor %}",
]
