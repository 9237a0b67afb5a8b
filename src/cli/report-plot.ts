import type { ReportLag } from '../stages/report-data.ts';
import type { ReportStep, ReportSwitch } from '../stages/report-switches.ts';
import { durationText } from './render.ts';
import { type Html, html } from './report-html.ts';

/** Points of one lane's plot at most. Everything is in the JSON. */
export const PLOT_POINTS = 600;

/** A plot's own width; the page stretches it, while lines and letters keep their size. */
const WIDTH = 1000;
/** A silence longer than this is a gap in the line, not a slope. Samples are taken every few seconds. */
const GAP_MS = 30_000;

/** One sample as the plot needs it: milliseconds since 1970, milliseconds of lag. */
export interface PlotPoint {
  readonly t: number;
  readonly ms: number;
}

/** The samples of a lane as points. */
export const pointsOf = (lag: ReportLag): readonly PlotPoint[] =>
  lag.samples.map((sample) => ({ t: Date.parse(sample.at), ms: sample.ms }));

/**
 * At most `limit` points with the least and the greatest of every stretch of time, in order: a plain sample of the samples
 * would lose the spikes, which are what one looks for.
 */
export const downsample = (points: readonly PlotPoint[], limit: number = PLOT_POINTS): readonly PlotPoint[] => {
  if (points.length <= limit) return points;
  const [from, to] = spanOf(points);
  const buckets = Math.floor(limit / 2);
  const bucketOf = ({ t }: PlotPoint) => Math.min(buckets - 1, Math.floor(((t - from) / (to - from || 1)) * buckets));
  return [...Map.groupBy(points, bucketOf).values()].flatMap(extremes);
};

const extremes = (bucket: readonly PlotPoint[]): readonly PlotPoint[] => {
  const least = bucket.reduce((a, b) => (b.ms < a.ms ? b : a));
  const greatest = bucket.reduce((a, b) => (b.ms > a.ms ? b : a));
  if (least === greatest) return [least];
  return least.t <= greatest.t ? [least, greatest] : [greatest, least];
};

const spanOf = (points: readonly PlotPoint[]): readonly [number, number] => {
  let from = Number.POSITIVE_INFINITY;
  let to = Number.NEGATIVE_INFINITY;
  for (const { t } of points) {
    from = Math.min(from, t);
    to = Math.max(to, t);
  }
  return [from, to];
};

/** Splits where nothing was measured for long. */
const stretches = (points: readonly PlotPoint[], gapMs: number): readonly (readonly PlotPoint[])[] => {
  const all: PlotPoint[][] = [];
  let previous: PlotPoint | undefined;
  for (const point of points) {
    const current = all.at(-1);
    if (!current || !previous || point.t - previous.t > gapMs) all.push([point]);
    else current.push(point);
    previous = point;
  }
  return all;
};

/** Lines of the lag axis, which is logarithmic: a lane that is 40 ms behind may have been an hour behind while it caught up. */
const LAG_TICKS: readonly (readonly [ms: number, label: string])[] = [
  [1, '1 ms'],
  [10, '10 ms'],
  [100, '100 ms'],
  [1_000, '1 s'],
  [10_000, '10 s'],
  [60_000, '1 min'],
  [600_000, '10 min'],
  [3_600_000, '1 h'],
  [36_000_000, '10 h'],
  [360_000_000, '100 h'],
  [3_600_000_000, '1000 h'],
];

const ticksFor = (points: readonly PlotPoint[]) => {
  const least = Math.max(1, Math.min(...points.map(({ ms }) => ms)));
  const greatest = Math.max(...points.map(({ ms }) => ms));
  const low = Math.max(
    0,
    LAG_TICKS.findLastIndex(([ms]) => ms <= least),
  );
  const above = LAG_TICKS.findIndex(([ms]) => ms >= greatest);
  const high = above === -1 ? LAG_TICKS.length - 1 : Math.max(above, low + 1);
  return LAG_TICKS.slice(Math.min(low, high - 1), high + 1);
};

const TIME_STEPS_S = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
  2_592_000,
];
const TIME_TICKS = 4;

const timeTicks = (from: number, to: number): readonly { readonly t: number; readonly label: string }[] => {
  const step = 1_000 * (TIME_STEPS_S.find((s) => (to - from) / (s * 1_000) <= TIME_TICKS) ?? 31_536_000);
  const ticks: { t: number; label: string }[] = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
    const iso = new Date(t).toISOString();
    if (step >= 86_400_000) ticks.push({ t, label: iso.slice(5, 10) });
    else
      ticks.push({
        t,
        label:
          to - from > 86_400_000 ? `${iso.slice(5, 10)} ${iso.slice(11, 16)}` : iso.slice(11, step < 60_000 ? 19 : 16),
      });
  }
  return ticks;
};

const LABEL_ROWS = 3;
const LABEL_ROW_PX = 14;
const PLOT_PX = 140;
/** Share of the width that a label may need on a telephone, in percent. */
const LABEL_PERCENT = 24;

/** Which row each switch's label stands in, so that they do not cover each other; null where there is no room. */
const labelRows = (percents: readonly number[]): readonly (number | null)[] => {
  const taken: number[] = [];
  return percents.map((percent) => {
    for (let row = 0; row < LABEL_ROWS; row++) {
      if (percent - (taken[row] ?? Number.NEGATIVE_INFINITY) < LABEL_PERCENT) continue;
      taken[row] = percent;
      return row;
    }
    return null;
  });
};

const anchorOf = (percent: number): 'start' | 'middle' | 'end' => {
  if (percent < 12) return 'start';
  return percent > 88 ? 'end' : 'middle';
};

const n = (value: number): string => value.toFixed(1);

/**
 * A lane's lag over time with its axes; the switches of its phase are marked where they happened. Positions are percentages
 * and strokes do not scale, so the same picture serves a telephone, a wide screen and paper.
 */
export const lagPlot = (points: readonly PlotPoint[], switches: readonly ReportSwitch[]): Html => {
  const [first, last] = spanOf(points);
  // A cutover ends its forward lane, so its mark is usually just past the last sample.
  const margin = Math.max((last - first) * 0.1, 10_000);
  const marks = switches
    .map(({ id, at }) => ({ id, t: Date.parse(at) }))
    .filter(({ t }) => t >= first - margin && t <= last + margin);
  const from = Math.min(first, ...marks.map(({ t }) => t));
  const to = Math.max(last, from + 1_000, ...marks.map(({ t }) => t));
  const percent = (t: number) => ((t - from) / (to - from)) * 100;
  const drawn = downsample(points);
  const ticks = ticksFor(drawn);
  const [low, high] = [Math.log(ticks[0]?.[0] ?? 1), Math.log(ticks.at(-1)?.[0] ?? 10)];
  const y = (ms: number) => (1 - Math.min(1, Math.max(0, (Math.log(Math.max(ms, 1)) - low) / (high - low)))) * PLOT_PX;
  const path = stretches(drawn, Math.max(GAP_MS, ((to - from) / PLOT_POINTS) * 6))
    .map((stretch) => linePath(stretch.map(({ t, ms }) => [(percent(t) / 100) * WIDTH, y(ms)])))
    .join('');
  const rows = labelRows(marks.map(({ t }) => percent(t)));
  const top = Math.max(0, ...rows.map((row) => (row === null ? 0 : row + 1))) * LABEL_ROW_PX;
  return html`<svg class="lag" role="img" aria-label="lag over time, logarithmic" height="${top + PLOT_PX + 24}">
<g transform="translate(0 ${top})">
${ticks.map(([ms]) => html`<line class="grid" x1="0" x2="100%" y1="${n(y(ms))}" y2="${n(y(ms))}"/>`)}
<svg width="100%" height="${PLOT_PX}" viewBox="0 0 ${WIDTH} ${PLOT_PX}" preserveAspectRatio="none" overflow="visible"><path d="${path}"/></svg>
${ticks.map(([ms, label]) => html`<text x="-8" y="${n(y(ms) + 4)}" text-anchor="end">${label}</text>`)}
${timeTicks(from, to).map(({ t, label }) => timeTick(percent(t), label))}
</g>
${marks.map(({ id, t }, index) => switchMark({ id, percent: percent(t), row: rows[index] ?? null, top }))}
</svg>`;
};

const linePath = (xy: readonly (readonly [number, number])[]): string => {
  const [first, ...rest] = xy;
  if (!first) return '';
  // A point alone would not be drawn; a line of no length gets its round ends.
  const tail = rest.length === 0 ? 'h0' : rest.map(([x, y]) => `L${n(x)} ${n(y)}`).join('');
  return `M${n(first[0])} ${n(first[1])}${tail}`;
};

const timeTick = (percent: number, label: string): Html =>
  html`<line class="tick" x1="${n(percent)}%" x2="${n(percent)}%" y1="${PLOT_PX}" y2="${PLOT_PX + 5}"/>
<text x="${n(percent)}%" y="${PLOT_PX + 18}" text-anchor="${anchorOf(percent)}">${label}</text>`;

const switchMark = (mark: { id: string; percent: number; row: number | null; top: number }): Html => {
  const begin = mark.row === null ? mark.top : mark.row * LABEL_ROW_PX + 2;
  const x = `${n(mark.percent)}%`;
  const label =
    mark.row === null
      ? null
      : html`<text class="mark halo" x="${x}" y="${mark.row * LABEL_ROW_PX + 11}" text-anchor="${anchorOf(mark.percent)}">${mark.id}</text>`;
  return html`<line class="mark" x1="${x}" x2="${x}" y1="${begin + 12}" y2="${mark.top + PLOT_PX}"/>${label}`;
};

/** Where a step's bar stands in its switch, in milliseconds from the hold. */
export interface BarScale {
  readonly fromMs: number;
  readonly toMs: number;
}

/** The time from the first to the last of some steps. A step without an outcome counts as a moment. */
export const scaleOf = (steps: readonly ReportStep[]): BarScale => {
  const begins = steps.map(({ at }) => Date.parse(at));
  const ends = steps.map(({ at, ms }) => Date.parse(at) + (ms ?? 0));
  const fromMs = Math.min(...begins);
  return { fromMs, toMs: Math.max(fromMs + 1, ...ends) };
};

/** The least width of a bar, in percent: the shortest steps take no visible share of a window, and happened all the same. */
const LEAST_BAR_PERCENT = 0.4;

/** One step as a bar on its switch's scale, with a line at every quarter. */
export const stepBar = (step: ReportStep, scale: BarScale): Html => {
  const percent = (ms: number) => (ms / (scale.toMs - scale.fromMs)) * 100;
  const width = Math.max(percent(step.ms ?? 0), LEAST_BAR_PERCENT);
  const x = Math.min(percent(Date.parse(step.at) - scale.fromMs), 100 - width);
  const label = `${step.step}: ${step.ms === null ? 'no outcome' : durationText(step.ms)}`;
  return html`<svg class="bar" role="img" aria-label="${label}">${[0, 25, 50, 75, 100].map(quarter)}<rect class="${step.status}" x="${x.toFixed(2)}%" width="${width.toFixed(2)}%" y="50%" height="11" transform="translate(0 -5.5)"/></svg>`;
};

const quarter = (at: number): Html => html`<line class="grid" x1="${at}%" x2="${at}%" y1="0" y2="100%"/>`;
