import { bytesText, countText, durationText } from '../src/cli/render.ts';
import {
  ESTIMATED_STAGES,
  estimateCatchUp,
  estimateMemory,
  estimatePhase,
  estimateWindow,
} from '../src/stages/estimate/estimate.ts';
import { FIT } from '../src/stages/estimate/fit.ts';
import { fill, table } from './protocol-page.ts';

/** Of the made-up database: rows of 200 bytes, spread over 100 tables. */
const ROW_BYTES = 200;
const TABLES = 100;
const SIZES_BYTES = [1e10, 1e11, 1e12, 1e13];
const SHARES = [0, 0.02, 0.2, 0.5, 0.9, 1.1];
const LANES = [1, 10, 50, 200];
const TABLES_PER_PHASE = 25;

const constants = (): string =>
  table([
    ['stage', 'per phase', 'per table', 'per million rows', 'per GB'],
    ...ESTIMATED_STAGES.map((stage) => {
      const cost = FIT.stages[stage];
      return [stage, cost.msPerPhase, cost.msPerTable, cost.msPerMillionRows, cost.msPerGigabyte].map((cell) =>
        typeof cell === 'string' ? cell : durationText(cell),
      );
    }),
  ]);

const sizes = (): string =>
  table([
    ['size', 'changes per second', 'copy and build', 'catch up', 'log kept on the source', 'verify'],
    ...SIZES_BYTES.flatMap((bytes) =>
      SHARES.map((share) => {
        const estimate = estimatePhase({ tables: TABLES, rows: bytes / ROW_BYTES, bytes });
        const copyMs = estimate.copy + estimate.build;
        const changesPerSecond = Math.round((FIT.apply.changesPerSecond * share) / 100) * 100;
        const caught = estimateCatchUp({ copyMs, changesPerSecond });
        return [
          bytesText(bytes),
          countText(changesPerSecond),
          durationText(copyMs),
          caught.ms === null ? '**never**' : durationText(caught.ms),
          caught.walBytes === null ? 'all of it' : bytesText(caught.walBytes),
          durationText(estimate.verify),
        ];
      }),
    ),
  ]);

const lanes = (): string =>
  table([
    [
      'phases',
      "worker's memory",
      `window of a switch of one phase (${TABLES_PER_PHASE} tables)`,
      'of ten phases at once',
    ],
    ...LANES.map((count) => [
      String(count),
      bytesText(estimateMemory(count)),
      durationText(estimateWindow({ tables: TABLES_PER_PHASE, lanes: count })),
      count < 10 ? '–' : durationText(estimateWindow({ tables: 10 * TABLES_PER_PHASE, lanes: count })),
    ]),
  ]);

const origin = (): string =>
  `Fitted on ${FIT.date}: ${FIT.machine}; ${FIT.servers}. Sizes: ${FIT.sizes}. Applied: ${countText(FIT.apply.changesPerSecond)} changes a second; log of a change on the source: ${countText(FIT.apply.walBytesPerChange)} bytes.`;

/** The page with its figures and tables made anew from the fitted model. */
export const withScaling = (page: string): string =>
  [
    ['origin', origin()],
    ['constants', constants()],
    ['sizes', sizes()],
    ['lanes', lanes()],
  ].reduce((made, [name = '', content = '']) => fill(made, name, content), page);
