import { sidesOf } from '../domain/position.ts';
import { stepsOf } from '../domain/protocol.ts';
import { CHECKS_STEP, type ReportStep, type ReportSwitch } from '../stages/report-switches.ts';
import { durationText } from './render.ts';
import { type Html, html } from './report-html.ts';
import { type BarScale, scaleOf, stepBar } from './report-plot.ts';
import { andList, timeText } from './report-words.ts';

/** Newest switches, and steps of one, that the page shows; all are in the JSON. */
const SWITCHES_SHOWN = 40;
const STEPS_SHOWN = 60;

const [AFTER_COMMIT_STEP] = stepsOf('completing');

/** Every switch with its steps as bars, oldest first. */
export const switchesSection = (switches: readonly ReportSwitch[], workerAlive: boolean): Html | null => {
  if (switches.length === 0) return null;
  const older = switches.length - SWITCHES_SHOWN;
  return html`<section><h2>Switches</h2>
<p class="soft">Steps on the scale of their own switch. Above the dashed line everything can be undone; below it a switch is only completed.</p>
${older > 0 ? html`<p class="note">The newest ${SWITCHES_SHOWN}; ${older} older ones are in the JSON.</p>` : null}
${switches.slice(-SWITCHES_SHOWN).map((one) => switchArticle(one, workerAlive))}</section>`;
};

const switchArticle = (one: ReportSwitch, workerAlive: boolean): Html => {
  const checks = one.steps.find(({ step }) => step === CHECKS_STEP);
  const window = one.steps.filter((step) => step !== checks);
  const { from, to } = sidesOf(one.direction);
  return html`<article><h3>${one.id}: ${andList(one.phases)}, ${from} → ${to}, ${outcomeText(one, workerAlive)}</h3>
<p>${timeText(one.at)} UTC. ${windowText(one)}${checks?.ms == null ? null : ` The checks before it took ${durationText(checks.ms)}.`}</p>
${positions(one)}
${window.length === 0 ? null : steps(window)}</article>`;
};

const outcomeText = ({ outcome }: ReportSwitch, workerAlive: boolean): Html => {
  if (outcome === 'committed') return html`committed`;
  if (outcome === 'aborted') return html`<span class="bad">aborted and undone</span>`;
  return html`<span class="open">${workerAlive ? 'under way' : 'in doubt'}</span>`;
};

const windowText = ({ windowMs, steps }: ReportSwitch): string => {
  if (windowMs !== null) return `The window was ${durationText(windowMs)} long, from the hold to the release.`;
  return steps.some(({ step }) => step === 'hold')
    ? 'Clients have not been released yet.'
    : 'Clients were not kept waiting.';
};

const positions = ({ fencedAt, reverseFrom, direction }: ReportSwitch): Html | null => {
  if (fencedAt === null && reverseFrom === null) return null;
  const { from, to } = sidesOf(direction);
  const fenced = fencedAt === null ? null : html`${from} fenced at <code>${fencedAt}</code>`;
  const back =
    reverseFrom === null ? null : html`${fenced ? '; ' : null}way back from <code>${reverseFrom}</code> on the ${to}`;
  return html`<p class="soft">${fenced}${back}</p>`;
};

const steps = (window: readonly ReportStep[]): Html => {
  const shown = window.slice(0, STEPS_SHOWN);
  const scale = scaleOf(shown);
  // What comes after the commit record cannot be undone any more: the line above it is the point of no return.
  const turn = shown.find(({ step }) => step === AFTER_COMMIT_STEP);
  return html`<table class="steps"><colgroup><col class="name"><col><col class="took"><col class="detail"></colgroup>
<thead><tr><th>step</th><th><span class="scale"><span>0</span><span>${durationText(scale.toMs - scale.fromMs)}</span></span></th><th class="number">took</th><th class="detail"></th></tr></thead>
<tbody>${shown.map((step) => stepRows(step, { scale, turn: step === turn }))}</tbody></table>
${window.length > shown.length ? html`<p class="note">${window.length - shown.length} more steps are in the JSON.</p>` : null}`;
};

const TOOK: Readonly<Record<ReportStep['status'], string>> = { begun: 'open', done: '', failed: 'bad' };

const stepRows = (step: ReportStep, place: { readonly scale: BarScale; readonly turn: boolean }): Html => {
  const took = step.ms === null ? 'no outcome' : durationText(step.ms);
  const failed = step.status === 'failed';
  return html`<tr class="${place.turn ? 'turn' : ''}"><td>${step.step}${failed ? html` <span class="bad">failed</span>` : null}</td><td class="bar">${stepBar(step, place.scale)}</td><td class="number ${TOOK[step.status]}">${took}</td><td class="detail">${failed ? null : step.detail}</td></tr>
${failed && step.detail !== null ? html`<tr class="why"><td></td><td colspan="2">${step.detail}</td></tr>` : null}`;
};
