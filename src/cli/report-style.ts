import { html } from './report-html.ts';

/** The page's whole style: one column, the reader's own sans-serif, light and dark, narrow screens, paper. */
export const REPORT_STYLE = html`
:root { color-scheme: light dark;
  --paper: #fff; --ink: #1d2126; --soft: #5d6671; --line: #dfe3e8; --faint: #f6f7f9;
  --done: #4a7199; --bad: #b3372f; --open: #a86e00; }
@media screen and (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --ink: #e3e6ea; --soft: #98a2ad; --line: #2d333a; --faint: #1b1f23;
  --done: #7fa6ce; --bad: #ec8078; --open: #dba849; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1rem; font-weight: 600; color: var(--soft); }
h2 { margin: 3rem 0 .75rem; font-size: 1.2rem; line-height: 1.3; font-weight: 600; }
h3 { margin: 0; font-size: 1rem; font-weight: 600; }
p { margin: .35rem 0; max-width: 46rem; }
.headline { margin: .4rem 0 1rem; font-size: 1.45rem; line-height: 1.35; font-weight: 500; max-width: 50rem; text-wrap: balance; }
.alert { margin-bottom: 1rem; font-size: 1.1rem; max-width: 50rem; }
.soft, dt, th, .note { color: var(--soft); }
.bad { color: var(--bad); } .open { color: var(--open); }
code, .digest { font: .87em/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
code, strong, td, dd { unicode-bidi: isolate; }
strong { font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .6rem 0 0; }
dd { margin: 0; min-width: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: 1rem 1.1rem; min-width: 0; }
.next { margin: .8rem 0 .2rem; padding-top: .6rem; border-top: 1px solid var(--line); } .commands span { display: inline-block; max-width: 100%; } .commands { margin: 0; padding: 0; list-style: none; }
section > article { margin-top: 1.9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-top: .5rem; }
th { text-align: left; font-weight: 400; font-size: .87rem; vertical-align: bottom; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); }
th, td { overflow-wrap: break-word; } td { vertical-align: baseline; }
th:last-child, td:last-child { padding-right: 0; }
.number { text-align: right; white-space: nowrap; }
.time { white-space: nowrap; }
.text { white-space: pre-wrap; min-width: 14rem; overflow-wrap: anywhere; }
.steps { table-layout: fixed; } .steps td { border-bottom: 0; padding-block: .1rem; vertical-align: middle; }
.steps col.name { width: 8.5rem; } .steps col.took { width: 6rem; } .steps col.detail { width: 30%; }
.steps td.bar { padding-block: 0; height: 1.7rem; } .steps .detail { padding-left: 1rem; }
.steps td.detail, .steps .why td { font-size: .87rem; line-height: 1.3; color: var(--soft); } .steps .why td { white-space: pre-wrap; padding-bottom: .5rem; }
.steps .turn td { border-top: 1px dashed var(--soft); }
.scale { display: flex; justify-content: space-between; }
svg { display: block; width: 100%; }
td.bar { position: relative; } svg.bar { position: absolute; inset: 0 .9rem 0 0; width: calc(100% - .9rem); height: 100%; overflow: visible; }
svg.lag { margin-top: .6rem; padding-left: 3.6rem; overflow: visible; }
svg text { font-size: 11.5px; fill: var(--soft); }
svg .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
svg text.mark { fill: var(--ink); }
svg path { fill: none; stroke: var(--done); stroke-width: 1.5; stroke-linejoin: round; stroke-linecap: round;
  vector-effect: non-scaling-stroke; }
svg line { stroke: var(--line); vector-effect: non-scaling-stroke; } svg line.tick { stroke: var(--soft); }
svg line.mark { stroke: var(--ink); stroke-dasharray: 3 3; }
rect.done { fill: var(--done); } rect.failed { fill: var(--bad); } rect.begun { fill: var(--open); }
.findings { margin: 0; padding: 0; list-style: none; } .findings li { margin: .9rem 0; }
.findings .text { min-width: 0; }
summary { cursor: pointer; }
details > .scroll { font-size: .87rem; }
@media (max-width: 40rem) {
  body { padding-top: 1.5rem; } .headline { font-size: 1.2rem; } h2 { margin-top: 2.25rem; }
  .steps col.name { width: 6.5rem; } .steps col.took { width: 4.6rem; } .steps .detail { display: none; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; } .card, .steps tr, svg, .findings li { break-inside: avoid; }
  h2, h3 { break-after: avoid; } rect, svg path { print-color-adjust: exact; } .scroll { overflow: visible; }
  .text { min-width: 0; }
}
`;
