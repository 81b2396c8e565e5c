"""The look of the page: light and dark, wide, narrow and printed."""

CSS = """
:root{color-scheme:light dark;--paper:#fbfaf7;--card:#fff;--ink:#1b2330;--soft:#5a6474;--line:#e3e1da;--a:#2563c9;
--b:#c2570c;--good:#15734a;--bad:#b3271e;--warn:#fff4d6;--warn-line:#e2b93b;--rgb-a:37,99,201;--rgb-bad:196,51,40}
@media (prefers-color-scheme:dark){:root{--paper:#12151a;--card:#1a1f27;--ink:#e7e9ed;--soft:#a2abba;--line:#2e3541;
--a:#7fb0ff;--b:#ffab66;--good:#5fd39b;--bad:#ff8f85;--warn:#2f2812;--warn-line:#a98a2b;--rgb-a:110,163,255;
--rgb-bad:240,100,90}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
header,main,footer{max-width:66rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2.5rem}
.over{margin:0;color:var(--soft);font-size:.8rem;letter-spacing:.12em;text-transform:uppercase}
h1{font-size:clamp(1.7rem,5vw,2.6rem);line-height:1.15;margin:.2rem 0 .6rem;font-weight:650;letter-spacing:-.02em}
h2{font-size:1.35rem;line-height:1.25;margin:0 0 .35rem;font-weight:650;letter-spacing:-.01em}
h3{font-size:1rem;margin:1.6rem 0 .1rem;font-weight:650}
p{margin:.35rem 0 .8rem;max-width:44rem}
a{color:var(--a)}
.lead{font-size:1.15rem;max-width:46rem}
.soft,figcaption small,.photo small{color:var(--soft)}
nav{display:flex;flex-wrap:wrap;gap:.4rem;margin:1.4rem 0 0}
nav a{padding:.2rem .7rem;border:1px solid var(--line);border-radius:1rem;background:var(--card);color:var(--ink);
text-decoration:none;font-size:.85rem}
nav a:hover,nav a:focus-visible{border-color:var(--a);color:var(--a)}
section{margin:2.6rem 0;padding-top:1.6rem;border-top:1px solid var(--line)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(11.5rem,1fr));gap:.8rem;margin:1.4rem 0 0;padding:0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:.75rem;padding:.9rem 1.1rem}
.tile b{display:block;font-size:1.9rem;line-height:1.2;font-weight:650;letter-spacing:-.02em;
font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:.85rem;display:block}
.tile .name{color:var(--ink);font-weight:600}
ul.points{padding-left:1.2rem;margin:1.3rem 0 0;max-width:46rem}
ul.points li{margin:.3rem 0}
.note{background:var(--warn);border-left:4px solid var(--warn-line);padding:.6rem 1rem;border-radius:.3rem;
max-width:46rem}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,23rem),1fr));gap:1.2rem;align-items:start}
figure{margin:0}
.chart{background:var(--card);border:1px solid var(--line);border-radius:.75rem;padding:.9rem .9rem .5rem}
.chart figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:.2rem 1rem;font-weight:600;
font-size:.95rem;padding:0 .2rem .5rem}
.legend{font-weight:400;display:inline-flex;gap:1rem}
.key::before{content:"";display:inline-block;width:1.1rem;height:0;border-top:3px solid var(--a);vertical-align:.25em;
margin-right:.4rem}
.key.b::before{border-top-color:var(--b);border-top-style:dashed}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{fill:var(--soft);font-size:12px;font-family:inherit}
svg .label{fill:var(--ink);font-size:13px}
.grid{stroke:var(--line);fill:none}rect.grid{fill:var(--line);stroke:none}
.axis{stroke:var(--soft);fill:none}
.mark{stroke:var(--soft);stroke-dasharray:4 4;fill:none}
.line{fill:none;stroke-width:2.4;stroke-linejoin:round}.line.a{stroke:var(--a)}
.line.b{stroke:var(--b);stroke-dasharray:6 4}
.dot.a{fill:var(--a)}.dot.b{fill:var(--b)}
.whisker{stroke:var(--a);stroke-width:2;opacity:.55}.range{stroke:var(--a);stroke-width:4;opacity:.35}
.bar{fill:var(--a)}.bar.b{fill:var(--b)}
.whiskers{width:7rem;height:.85rem;display:inline-block;vertical-align:-.1rem;margin-left:.5rem}
.bars{width:min(100%,22rem);margin-top:.45rem;height:.6rem;border-radius:.3rem;min-width:3rem}
.scroll{overflow-x:auto;margin:.8rem 0;max-width:100%}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.94rem}
th,td{padding:.42rem .9rem .42rem 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top;
font-weight:400}
thead th{color:var(--soft);font-size:.82rem;vertical-align:bottom}
tbody th{font-weight:600}
th{overflow-wrap:break-word}
td small{color:var(--soft);white-space:nowrap}
.wide{width:100%}
.confusion td,.confusion th{text-align:center;padding:.35rem .5rem;border:1px solid var(--paper);min-width:2.6rem;
overflow-wrap:normal;vertical-align:middle}
.confusion tbody th{text-align:right;padding-right:.8rem;overflow-wrap:break-word;
max-width:10rem;min-width:4rem}
.confusion thead th{max-width:8rem;overflow-wrap:break-word;color:var(--ink);font-size:.88rem;font-weight:600}
.confusion.few td{min-width:5.5rem;padding:1.1rem .5rem;font-size:1.25rem;border-radius:.4rem}
.confusion.many thead th:not(:first-child){writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;
padding:.4rem .2rem;max-width:none;max-height:9rem}
.zero{color:var(--soft)}
.photos{display:grid;grid-template-columns:repeat(6,1fr);gap:.8rem;margin:.7rem 0 0;padding:0;list-style:none}
.photo{background:var(--card);border:1px solid var(--line);border-radius:.6rem;overflow:hidden;font-size:.85rem;
line-height:1.35;break-inside:avoid}
.photo img,.photo .none{display:block;width:100%;aspect-ratio:1;object-fit:cover;background:var(--line)}
.photo .none{display:grid;place-items:center;color:var(--soft)}
.photo figcaption{padding:.5rem .65rem .6rem}
.photo small{display:block;font-size:.74rem;margin-top:.15rem}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
.groups{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));gap:1rem;margin-top:.8rem}
.group{border:1px solid var(--line);border-radius:.75rem;padding:.7rem;background:var(--card)}
.group .photos{grid-template-columns:repeat(2,1fr);margin-top:.5rem}
.group.leak{border-color:var(--bad)}
dl{margin:.8rem 0;max-width:52rem}dl div{display:grid;grid-template-columns:12rem 1fr;gap:1rem;padding:.38rem 0;
border-bottom:1px solid var(--line)}
dt{color:var(--soft)}dd{margin:0}
code,pre{font:0.88em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1rem;overflow-x:auto;
max-width:46rem;white-space:pre-wrap}
details{margin:.8rem 0}summary{cursor:pointer;color:var(--a)}
summary:focus-visible,a:focus-visible,.scroll:focus-visible{outline:2px solid var(--a);outline-offset:2px}
footer{color:var(--soft);font-size:.85rem;padding-bottom:3rem}
"""

for _level in range(1, 10):
    CSS += f".h{_level}{{background:rgba(var(--rgb-a),{_level * 0.055:.3f})}}"
    CSS += f".e{_level}{{background:rgba(var(--rgb-bad),{_level * 0.07:.3f})}}"

CSS += """
@media (max-width:56rem){.photos{grid-template-columns:repeat(3,1fr)}}
@media (max-width:34rem){header{padding-top:1.6rem}.photos{grid-template-columns:repeat(2,1fr)}
.tiles{grid-template-columns:1fr 1fr}.tile{padding:.7rem .8rem}.tile b{font-size:1.45rem}
svg text{font-size:15px}svg .label{font-size:16px}
dl div{grid-template-columns:1fr;gap:0}section{margin:2rem 0;padding-top:1.2rem}.whiskers{display:none}
th,td{padding-right:.5rem}td small{display:block;font-size:.72rem}.wide{font-size:.82rem}
thead th{font-size:.72rem}.bars{min-width:2rem}.confusion.few td{min-width:4.6rem}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--a:#1d4fa3;--b:#a34a0a;--good:#0d5937;
--bad:#8f1f18;--warn:#fff;--rgb-a:37,99,201;--rgb-bad:196,51,40;color-scheme:light}body{font-size:11pt}nav{display:none}
section{break-inside:auto}.tile,.chart,.group{break-inside:avoid}h2,h3{break-after:avoid}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
