import { FIT } from '../stages/estimate/fit.ts';
import type { PhaseOutcome, StageOutcome } from '../stages/report-estimates.ts';
import { durationText } from './render.ts';
import { type Html, html } from './report-html.ts';

/** More phases than this are for programs: they are in the JSON. */
const PHASES_SHOWN = 100;

/** What each stage was thought to take and what it took; null before anything was prepared. */
export const estimatesSection = (outcomes: readonly PhaseOutcome[]): Html | null => {
  const begun = outcomes.filter(({ stages }) => stages.some(({ actualMs }) => actualMs !== null));
  if (begun.length === 0) return null;
  return html`<section><h2>Estimate and outcome</h2>
<p class="soft">Estimated when each phase was prepared, by a model fitted on ${FIT.machine} (${FIT.date}); the ratio is outcome over estimate.
How long catching up takes depends on what is written meanwhile.</p>
<div class="scroll"><table><thead><tr><th>phase</th><th>stage</th><th class="number">estimate</th><th class="number">outcome</th><th class="number">ratio</th></tr></thead>
<tbody>${begun.slice(0, PHASES_SHOWN).map(({ phase, stages }) => stages.map((stage) => outcomeRow(phase, stage)))}</tbody></table></div>
${begun.length > PHASES_SHOWN ? html`<p class="note">The other ${begun.length - PHASES_SHOWN} phases are in the JSON.</p>` : null}
</section>`;
};

const outcomeRow = (phase: string, { stage, estimatedMs, actualMs }: StageOutcome): Html => {
  const ratio = estimatedMs === null || actualMs === null || estimatedMs < 1 ? null : actualMs / estimatedMs;
  return html`<tr><td>${phase}</td><td>${stage}</td><td class="number">${msText(estimatedMs)}</td><td class="number">${msText(actualMs)}</td><td class="number">${ratio === null ? '–' : ratio.toFixed(2)}</td></tr>`;
};

const msText = (ms: number | null): string => (ms === null ? '–' : durationText(ms));
