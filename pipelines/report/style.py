"""How the page looks: dark text on white, one column that fits a telephone, nothing fetched, no script."""

CSS = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:auto}
body{margin:0;background:#fff;color:#1a1a1a;font:16px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main,header,nav,footer{max-width:1200px;margin:0 auto;padding:0 20px}
header{padding-top:24px}
h1{font-size:30px;line-height:1.2;margin:0 0 12px;overflow-wrap:anywhere}
h2{font-size:23px;line-height:1.3;margin:44px 0 8px;padding-top:14px;border-top:2px solid #1a1a1a}
h3{font-size:18px;margin:26px 0 4px;overflow-wrap:anywhere}
h4{font-size:14px;margin:0 0 6px;overflow-wrap:anywhere}
p{margin:6px 0;max-width:80ch;overflow-wrap:anywhere}
code{font:13px/1.4 ui-monospace,"DejaVu Sans Mono",Menlo,monospace;overflow-wrap:anywhere}
.kicker{margin:0;color:#4a4a4a;letter-spacing:.04em}
nav{padding-top:8px}
nav a{display:inline-block;margin:0 16px 4px 0;color:#00538a}
.rule>*{display:inline-block;margin-right:18px}
.warning{border:2px solid #b34e00;background:#fff6ee;padding:10px 14px;max-width:none}
.facts{display:flex;flex-wrap:wrap;gap:8px 32px;margin:0}
.facts dt{font-size:13px;color:#4a4a4a}
.facts dd{margin:0;font-weight:600;overflow-wrap:anywhere}
.facts code{font-weight:400}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;font-size:14px}
.swatch{width:13px;height:13px;margin-right:7px;vertical-align:-1px}
.note,.empty{font-size:13px;color:#4a4a4a}
table{border-collapse:collapse;font-size:14px;width:100%}
th,td{text-align:left;padding:3px 14px 3px 0;vertical-align:top;font-weight:400}
thead th{font-size:13px;color:#4a4a4a;border-bottom:1px solid #8a8a8a;vertical-align:bottom}
tbody th{overflow-wrap:break-word}
thead .number,.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.scroll{overflow-x:auto}
.stage>*{padding-top:9px}
.stage th{font-weight:600}
.reason th{padding-left:18px}
.reason{color:#333;font-size:13px}
.survival .bars,.survival td:last-child{width:46%}
.bar{display:block;width:100%;height:16px;background:#f4f4f4}
.stage .bar{display:inline-block;width:calc(100% - 76px);vertical-align:-3px}
.percent{display:inline-block;width:72px;text-align:right;font-variant-numeric:tabular-nums}
.kinds td.bars{min-width:160px;padding-top:6px}
.figure{display:block;width:100%;max-width:440px;height:auto}
.figure text{fill:#1a1a1a;font-family:inherit}
.plot{min-width:0}
.plot .title{font-weight:600;font-size:14px;margin:0 0 4px}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,360px),1fr));gap:24px;margin:14px 0}
.card{display:grid;grid-template-columns:minmax(0,440px) minmax(0,1fr);gap:28px;margin-top:10px}
.sides{display:grid;gap:14px;align-content:start}
h4.falls{border-left:10px solid #d55e00;padding-left:8px}
h4.passes{border-left:10px solid #56b4e9;padding-left:8px}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(132px,1fr));gap:12px}
.tiles.five{grid-template-columns:repeat(5,minmax(0,1fr))}
.tiles.large{grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));gap:20px;margin-top:10px}
.tile{margin:0;min-width:0}
.frame{background:#f1f1f1;aspect-ratio:1;display:flex;align-items:center;justify-content:center;overflow:hidden}
.large .frame{aspect-ratio:auto;max-height:400px;justify-content:flex-start;background:none}
.frame img{display:block;max-width:100%;max-height:100%;width:auto;height:auto}
.large .frame img{max-height:400px}
.frame.none{padding:8px;font-size:13px;text-align:center;color:#4a4a4a;border:1px dashed #8a8a8a}
figcaption{font-size:12.5px;line-height:1.35;padding-top:4px}
figcaption>*{display:block}
figcaption .said,figcaption b{overflow-wrap:anywhere}
figcaption .note{font-size:12.5px}
figcaption code{font-size:11.5px;color:#4a4a4a}
.five .said{display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:3;overflow:hidden}
.groups{display:flex;flex-wrap:wrap;gap:26px 44px;margin-top:14px}
.groups .tiles{display:flex;flex-wrap:wrap}
.groups .tile{width:132px}
.talks{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,520px),1fr));gap:18px 32px;margin-top:10px}
.talk{display:grid;grid-template-columns:132px minmax(0,1fr);gap:14px;align-content:start}
.talk{border-top:1px solid #c4c4c4;padding-top:12px}
.talk .aside code{font-size:11.5px;color:#4a4a4a}
.turn{white-space:pre-wrap;font-size:14px;margin:3px 0}
.turn.said{padding-left:14px}
.worse,.written{border-left:4px solid #d55e00;padding-left:10px}
.finding{font-size:14px}
footer{padding:36px 20px;color:#4a4a4a;font-size:13px}
@media(max-width:900px){.card{grid-template-columns:minmax(0,1fr)}}
@media(max-width:560px){
main,header,nav,footer{padding-left:14px;padding-right:14px}
h1{font-size:25px}h2{font-size:21px}
.wide{display:none}
th,td{padding-right:8px}
.survival .bars,.survival td:last-child{width:auto}
.reason th{padding-left:8px}
.stage .bar{width:100%}.percent{display:block;width:auto;text-align:left}
.tiles.five,.tiles{grid-template-columns:repeat(3,minmax(0,1fr))}
.tiles.large{grid-template-columns:minmax(0,1fr)}
.talk{grid-template-columns:84px minmax(0,1fr)}
}
@media print{h3,h4{break-after:avoid}.tile,.talk,.plot{break-inside:avoid}nav{display:none}}
"""
