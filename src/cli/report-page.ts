import type { PhaseState } from '../domain/phase.ts';
import { sidesOf } from '../domain/position.ts';
import { primarySide } from '../domain/protocol.ts';
import type { Report, ReportLag, ReportPhase } from '../stages/report-data.ts';
import type { JournalLine } from '../stages/status.ts';
import { bytesText, countText, durationText } from './render.ts';
import { estimatesSection } from './report-estimates.ts';
import { type Html, html, type Piece } from './report-html.ts';
import { lagPlot, pointsOf } from './report-plot.ts';
import { REPORT_STYLE } from './report-style.ts';
import { switchesSection } from './report-timeline.ts';
import { andList, headline, spanText, stateText, timeText } from './report-words.ts';
import { snapshotLines } from './snapshot-text.ts';

/** More tables or failures than this are for programs: they are in the JSON. */
const ROWS_SHOWN = 500;
const FAILURES_SHOWN = 50;

/**
 * The report as one self-contained page: no script, nothing fetched, every foreign text escaped by the template. Its size is
 * bounded by the report's own bounds.
 */
export const reportPage = (report: Report): string => {
  const { text, alert } = headline(report);
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${report.run.name}: migration report</title>
<style>${REPORT_STYLE}</style>
</head>
<body>
<header>
<h1>${report.run.name}, a migration by Switchback</h1>
<p class="headline">${text}</p>
${alert === null ? null : html`<p class="alert bad">${alert}</p>`}
<p class="soft">${origin(report)}</p>
</header>
<main>
${report.phases.length === 0 ? null : html`<section><h2>Phases</h2><div class="cards">${report.phases.map((phase) => phaseCard(phase, report))}</div></section>`}
${findingsSection(report)}
${switchesSection(report.switches, report.worker?.alive === true)}
${estimatesSection(report.outcomes)}
${lagSection(report)}
${certificatesSection(report)}
${snapshotsSection(report.snapshots)}
${journalSection(report.journal)}
</main>
</body>
</html>
`.toString();
};

const origin = (report: Report): Html => {
  const { run, servers, worker, generatedAt, answeredBy } = report;
  const held = worker?.alive ? html` Worker ${worker.holder} on ${worker.host}, epoch ${worker.epoch}.` : null;
  return html`${servers.source} → ${servers.target}. Run <code>${run.id}</code>, begun ${timeText(run.createdAt)}; plan
<code>${run.planHash.slice(0, 12)}</code>.${held} Written ${timeText(generatedAt)} by the ${answeredBy}’s clock. All times are UTC.`;
};

const pair = (term: string, value: Piece): Html => html`<dt>${term}</dt><dd>${value}</dd>`;

const sideText = (side: ReportPhase['source']): string =>
  side === null ? 'no record' : `${side.role}, ${side.fenced ? 'fenced' : 'writable'}`;

const sinceOf = (state: PhaseState): string | null => {
  if ('since' in state) return state.since;
  return 'at' in state ? state.at : null;
};

const isOver = ({ state }: ReportPhase): boolean => state.name === 'finalised' || state.name === 'aborted';

const phaseCard = (phase: ReportPhase, { answeredBy, routes }: Report): Html => {
  const { state, copied, certificate } = phase;
  const since = sinceOf(state);
  // What stood on the sides for the lane went with it, so its figures would say nothing any more.
  const lane = isOver(phase) ? null : phase.lane;
  return html`<article class="card">
<h3>${phase.name}</h3>
<p>${state.name}: ${stateText(phase)}${since === null ? null : html` <span class="soft">since ${timeText(since)} UTC</span>`}</p>
<dl>
${pair('primary', state.name === 'switching' ? html`<span class="open">in doubt</span>` : primarySide(state))}
${pair('source', sideText(phase.source))}
${pair('target', sideText(phase.target))}
${routes.filter((route) => route.phase === phase.name).map((route) => pair(`router ${route.router}`, routeText(route)))}
${lane === null ? null : pair('lane', laneText(lane))}
${lane?.position == null ? null : pair('position', html`<code>${lane.position}</code>`)}
${isOver(phase) ? null : pair('copied', `${countText(copied.rows)} rows, ${bytesText(copied.bytes)}`)}
${pair('certificate', certificate === null ? 'none' : certificateText(certificate))}
</dl>
${answeredBy === 'target' || phase.next.length === 0 ? null : nextCommands(phase.next)}
</article>`;
};

const routeText = ({ led, primary, held, trouble }: Report['routes'][number]): Html => {
  const whom = led === 'readers' ? ' readers' : '';
  const leads = primary === null ? `does not say where it leads${whom}` : `leads${whom} to the ${primary}`;
  return html`${leads}${held ? ', keeps clients waiting' : null}${trouble === null ? null : html` <span class="bad">${trouble.fact}</span>`}`;
};

/** A command breaks between its words only, so that no option is torn apart. */
const nextCommands = (commands: readonly string[]): Html => html`<p class="next soft">what can be done now</p>
<ul class="commands">${commands.map((command) => html`<li><code>${command.split(' ').map((word) => html`<span>${word}</span> `)}</code></li>`)}</ul>`;

const laneText = (lane: NonNullable<ReportPhase['lane']>): Html => {
  if (lane.halt) return html`${lane.name}, <span class="bad">halted</span> since ${timeText(lane.halt.at)} UTC`;
  if (lane.lagMs === null) return html`${lane.name}, lag not measured yet`;
  return html`${lane.name}, ${durationText(lane.lagMs)} behind <span class="soft">(${durationText(lane.lagAgeMs ?? 0)} ago)</span>`;
};

const certificateText = (certificate: NonNullable<ReportPhase['certificate']>): Html =>
  html`${certificate.clean ? 'clean' : html`<span class="bad">not clean</span>`}, ${countText(certificate.rows)} rows in
${countText(certificate.tables)} tables, ${durationText(certificate.ageMs)} old`;

const findingsSection = (report: Report): Html => {
  const failures = report.journal.lines.filter(({ status }) => status === 'failed');
  const nothing = report.halts.length === 0 && report.findings.length === 0 && report.findingsError === null;
  return html`<section><h2>Findings and halts</h2>
${nothing ? html`<p>Nothing is halted. ${report.phases.every(isOver) ? 'No phase is left for preflight to look at.' : 'Preflight finds nothing now.'}</p>` : null}
<ul class="findings">
${report.halts.map(({ lane, at, finding }) => findingItem(html`<span class="bad">halted</span> ${lane} since ${timeText(at)} UTC`, finding))}
${[...report.findings]
  .sort((a, b) => a.severity.localeCompare(b.severity))
  .slice(0, ROWS_SHOWN)
  .map((finding) =>
    findingItem(
      html`<span class="${finding.severity === 'blocks' ? 'bad' : 'open'}">${finding.severity}</span>`,
      finding,
    ),
  )}
</ul>
${report.findings.length > ROWS_SHOWN ? html`<p class="note">The other ${countText(report.findings.length - ROWS_SHOWN)} are in the JSON.</p>` : null}
${report.findingsError === null ? null : html`<p>Preflight could not look: ${report.findingsError}</p>`}
${failures.length === 0 ? null : failureList(failures)}
</section>`;
};

const findingItem = (head: Html, finding: Report['findings'][number]): Html =>
  html`<li>${head} <strong>${finding.subject}</strong> <code class="soft">${finding.id}</code>
<p class="text">${finding.fact}</p><p class="text soft">${finding.remedy}</p></li>`;

const failureList = (failures: readonly JournalLine[]): Html => html`<article><h3>Steps that failed</h3>
<p class="soft">Whether it was tried again is in the journal.${failures.length > FAILURES_SHOWN ? ` The newest ${FAILURES_SHOWN} of ${failures.length}.` : null}</p>
<ul class="findings">${failures
  .slice(-FAILURES_SHOWN)
  .map(
    ({ at, scope, phases, step, detail }) =>
      html`<li><span class="bad">failed</span> <strong>${scope}, ${step}</strong> ${andList(phases)} <span class="soft">${timeText(at)} UTC</span><p class="text">${detail}</p></li>`,
  )}</ul></article>`;

const lagSection = (report: Report): Html | null => {
  const lanes = report.lag.filter(({ samples }) => samples.length > 0);
  if (lanes.length === 0) return null;
  return html`<section><h2>Lag</h2>
<p class="soft">End to end: how long ago what has arrived was written. The scale is logarithmic; broken lines are switches.</p>
${lanes.map((lane) => lagArticle(lane, report))}</section>`;
};

const lagArticle = (lag: ReportLag, { switches }: Report): Html => {
  const own = switches.filter(({ phases }) => phases.some((phase) => lag.lane.startsWith(`${phase}/`)));
  const sorted = lag.samples.map(({ ms }) => ms).sort((a, b) => a - b);
  const quantile = (q: number) => durationText(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0);
  const [first, last] = [lag.samples[0]?.at ?? '', lag.samples.at(-1)?.at ?? ''];
  return html`<article><h3>${lag.lane}</h3>
<p>median ${quantile(0.5)}, 99th percentile ${quantile(0.99)}, longest ${quantile(1)}
<span class="soft">(${countText(sorted.length)} samples, ${spanText(first, last)} UTC)</span></p>
${lagPlot(pointsOf(lag), own)}</article>`;
};

const certificatesSection = ({ phases }: Report): Html | null => {
  const certified = phases.filter((phase) => phase.certified !== null);
  if (certified.length === 0) return null;
  return html`<section><h2>Certificates</h2>
<p class="soft">Each server computes the digest of a table itself. In a clean certificate both found the same, with everything older arrived.</p>
${certified.map(certificateArticle)}</section>`;
};

const snapshotsSection = (snapshots: Report['snapshots']): Html | null => {
  if (snapshots === null) return null;
  return html`<section><h2>Snapshots</h2>
<p class="soft">Safety copies of the source. A drill restores one beside it, compares it, and measures how long that takes.</p>
<ul>${snapshotLines(snapshots, true).map((line) => html`<li>${line}</li>`)}</ul></section>`;
};

const certificateArticle = ({ name, certified, certificate }: ReportPhase): Html | null => {
  if (certified === null) return null;
  const { from, to } = sidesOf(certified.direction);
  const { tables } = certified;
  return html`<article><h3>${name} <code>${certified.id}</code></h3>
<p>${certified.clean ? 'clean' : html`<span class="bad">not clean: rows differed or did not settle</span>`};
${from} against ${to} at position <code>${certified.position}</code>${certificate === null ? null : `, ${timeText(certificate.at)} UTC`}, in ${durationText(certified.seconds * 1000)}</p>
<div class="scroll"><table><thead><tr><th>table</th><th class="number">rows</th><th>digest</th></tr></thead>
<tbody>${tables
    .slice(0, ROWS_SHOWN)
    .map(
      ({ table, rows, digest }) =>
        html`<tr><td>${table}</td><td class="number">${countText(rows)}</td><td class="digest">${digest}</td></tr>`,
    )}</tbody></table></div>
${tables.length > ROWS_SHOWN ? html`<p class="note">The other ${countText(tables.length - ROWS_SHOWN)} tables are in the JSON.</p>` : null}</article>`;
};

const journalSection = ({ lines, complete }: Report['journal']): Html => html`<section><h2>Journal</h2>
<details><summary>${countText(lines.length)} lines${complete ? null : '; older ones are left out'}</summary>
<div class="scroll"><table><thead><tr><th class="number">line</th><th>time (UTC)</th><th class="number">epoch</th><th>scope</th><th>phases</th><th>step</th><th>status</th><th class="number">took</th><th>detail</th></tr></thead>
<tbody>${lines.map(journalRow)}</tbody></table></div></details></section>`;

const STATUS_CLASS: Readonly<Record<JournalLine['status'], string>> = {
  begun: 'soft',
  done: '',
  failed: 'bad',
};

const journalRow = (line: JournalLine): Html =>
  html`<tr><td class="number">${line.id}</td><td class="time">${timeText(line.at, 'milliseconds')}</td><td class="number">${line.epoch}</td><td>${line.scope}</td><td>${line.phases.join(', ')}</td><td>${line.step}</td><td class="${STATUS_CLASS[line.status]}">${line.status}</td><td class="number">${line.ms === null ? null : durationText(line.ms)}</td><td class="text">${line.detail}</td></tr>
`;
