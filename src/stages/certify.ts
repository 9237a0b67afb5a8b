import type { KeyText } from '../databases/digests.ts';
import { SwitchbackError } from '../domain/errors.ts';
import { sidesOf } from '../domain/position.ts';
import { displayName, type Table } from '../domain/table.ts';
import type { Touched } from '../engines/engine.ts';
import { monotonicMs } from '../platform/clock.ts';
import { writeCertificate } from '../sidecar/records.ts';
import { type Certificate, certificateId } from './certificate.ts';
import { portsOf, type RunContext } from './context.ts';
import type { LaneRunner } from './lane-runner.ts';
import type { Phase } from './machine.ts';
import type { Tenure } from './tenure.ts';
import { type VerifyResult, verifyKeys, verifyTables } from './verify.ts';

/** A drain between two looks at the same rows may take this long while the lane is behind, in milliseconds. */
const SETTLE_BUDGET_MS = 600_000;

const runnerOf = (phase: Phase): LaneRunner => {
  if (!phase.runner) throw new SwitchbackError('internal', `phase ${phase.name} has no lane`);
  return phase.runner;
};

/** The verification's view of a phase: both sides' digests, and how to wait until the lane has caught up. */
const comparison = (context: RunContext, phase: Phase, signal: AbortSignal) => {
  const runner = runnerOf(phase);
  const { from, to } = sidesOf(runner.direction);
  return {
    from: portsOf(context, from).digests,
    to: portsOf(context, to).digests,
    appliedPast: () => runner.drain({ budgetMs: SETTLE_BUDGET_MS, signal }),
    signal,
  };
};

/**
 * Compares every table of a phase while the lane follows, and stores the certificate. From the moment it begins, the lane
 * remembers what changes, so that certificate and remembered keys together cover every row. Throws kind `findings` when
 * rows differ for good; a certificate is stored then too, and is not clean.
 */
export const certify = async (context: RunContext, options: CertifyOptions): Promise<Certificate> => {
  const { certificate, result } = await compare(context, options);
  if (!certificate.clean) throw differs(context, options.phase.name, result);
  return certificate;
};

/** What a verification works with. */
export interface CertifyOptions {
  readonly tenure: Tenure;
  readonly phase: Phase;
  readonly signal: AbortSignal;
}

/**
 * Copies again what differs, then verifies once more (DESIGN 5): the pass that found the rows is never a clean one. A lane
 * that was halted by a row is let go on when that row has been mended. Returns the certificate of the last pass.
 */
export const repairAndCertify = async (
  context: RunContext,
  options: CertifyOptions,
): Promise<{ readonly certificate: Certificate; readonly repaired: number }> => {
  const { phase, signal } = options;
  const runner = runnerOf(phase);
  const requests = (rows: readonly { readonly table: string; readonly keys: readonly KeyText[] }[]) =>
    rows.flatMap(({ table: name, keys }) => {
      const table = phase.scope.tables.find((t) => displayName(t) === name);
      return table && keys.length > 0 ? [{ table, keys }] : [];
    });
  let repaired = 0;
  const row = runner.halt?.row;
  if (row) {
    repaired += await runner.repair(requests([{ table: row.table, keys: [row.key] }]), signal);
    await runner.unhalt();
  }
  const { certificate, result } = await compare(context, options);
  if (certificate.clean) return { certificate, repaired };
  const divergent = result.tables.map(({ table, divergent: keys }) => ({ table, keys }));
  repaired += await runner.repair(requests(divergent), signal);
  return { certificate: await certify(context, options), repaired };
};

const compare = async (
  context: RunContext,
  options: CertifyOptions,
): Promise<{ readonly certificate: Certificate; readonly result: VerifyResult }> => {
  const { phase, signal, tenure } = options;
  const runner = runnerOf(phase);
  const begun = monotonicMs();
  runner.touched.restart();
  const { from } = sidesOf(runner.direction);
  const position = await portsOf(context, from).database.head();
  const compared = verifyTables({ tables: phase.scope.tables, ...comparison(context, phase, signal) });
  const result = await compared.catch((error: unknown) => {
    // Keys remembered since a verification that never ended prove nothing about the rest.
    runner.touched.invalidate();
    throw error;
  });
  const certificate: Certificate = {
    id: certificateId(),
    phase: phase.name,
    direction: runner.direction,
    tables: result.tables.map(({ table, rows, digest }) => ({ table, rows: Number(rows), digest })),
    position,
    clean: result.clean,
    seconds: (monotonicMs() - begun) / 1000,
  };
  await tenure.act((sql) => writeCertificate(sql, certificate));
  context.emit({
    type: 'verified',
    phase: phase.name,
    tables: certificate.tables.length,
    rows: certificate.tables.reduce((sum, table) => sum + table.rows, 0),
    mismatches: mismatches(result),
  });
  return { certificate, result };
};

const mismatches = (result: VerifyResult): number =>
  result.tables.reduce((sum, table) => sum + table.divergent.length, 0);

const differs = (context: RunContext, phase: string, result: VerifyResult): SwitchbackError => {
  const lines = result.tables
    .filter((table) => table.divergent.length > 0 || table.unsettled.length > 0)
    .map((table) => {
      const keys = [...table.divergent, ...table.unsettled].slice(0, 5).map((key) => `(${key.join(', ')})`);
      return `  ${table.table}: ${table.divergent.length} rows differ, ${table.unsettled.length} never settled; ${keys.join(' ')}${table.stopped ? '; so many that the rest of the table was not looked at' : ''}`;
    });
  return new SwitchbackError('findings', [`phase ${phase} is not equal on both sides:`, ...lines].join('\n'), {
    remedy: `find out who wrote to the fenced side, then copy the rows again: switchback verify ${context.plan.path} ${phase} --repair`,
  });
};

/** Verifies and forgets remembered keys while the lane follows, so that few are left for the window. */
export const proveWhileFollowing = async (context: RunContext, phase: Phase, signal: AbortSignal): Promise<void> => {
  const { touched } = runnerOf(phase);
  const batch = touched.take();
  try {
    await runnerOf(phase).drain({ budgetMs: SETTLE_BUDGET_MS, signal });
    for (const [table, keys] of keyed(phase, batch)) {
      const result = await verifyKeys({ table, keys, isStatic: false, ...comparison(context, phase, signal) });
      if (result.divergent.length > 0)
        throw differsByKey(context, { phase: phase.name, table, rows: result.divergent.length });
      // What kept changing has been remembered again by the lane; what never settled must not be forgotten either.
      if (result.unsettled.length > 0) touched.add([{ table: displayName(table), keys: result.unsettled }]);
    }
  } catch (error) {
    touched.add(batch);
    throw error;
  }
  touched.add(batch.filter(({ keys }) => keys === 'all'));
};

/**
 * Compares what changed since the certificate, with both sides standing still: the final proof of a switch (S10). Returns
 * the number of keys compared. Throws kind `aborted` when anything differs.
 */
export const proveTouched = async (context: RunContext, phase: Phase, signal: AbortSignal): Promise<number> => {
  const { touched } = runnerOf(phase);
  if (!touched.complete) {
    throw new SwitchbackError('aborted', `more rows of phase ${phase.name} changed than could be remembered`, {
      remedy: `when fewer rows change at once, verify and give the command again: switchback verify ${context.plan.path} ${phase.name}`,
    });
  }
  const batch = touched.peek();
  const pairs = keyed(phase, batch);
  // Nobody can write meanwhile, so tables are compared at once, as far as the servers' pools have sessions.
  await Promise.all(
    pairs.map(async ([table, keys]) => {
      const result = await verifyKeys({ table, keys, isStatic: true, ...comparison(context, phase, signal) });
      if (result.divergent.length > 0)
        throw differsByKey(context, { phase: phase.name, table, rows: result.divergent.length });
    }),
  );
  const compared = pairs.reduce((sum, [, keys]) => sum + keys.length, 0);
  const whole = phase.scope.tables.filter((t) => batch.some((b) => b.keys === 'all' && b.table === displayName(t)));
  if (whole.length > 0) {
    const result = await verifyTables({
      tables: whole,
      ...comparison(context, phase, signal),
      appliedPast: async () => undefined,
    });
    if (!result.clean) {
      const { message, remedy = '' } = differs(context, phase.name, result);
      throw new SwitchbackError('aborted', message, { remedy });
    }
  }
  return compared;
};

const keyed = (phase: Phase, batch: readonly Touched[]) => {
  const pairs: (readonly [Table, readonly (readonly string[])[]])[] = [];
  for (const { table: name, keys } of batch) {
    const table = phase.scope.tables.find((t) => displayName(t) === name);
    if (table && keys !== 'all' && keys.length > 0) pairs.push([table, keys]);
  }
  return pairs;
};

const differsByKey = (
  context: RunContext,
  { phase, table, rows }: { readonly phase: string; readonly table: Table; readonly rows: number },
): SwitchbackError =>
  new SwitchbackError(
    'aborted',
    `phase ${phase}: ${rows} changed rows of ${displayName(table)} differ between the sides`,
    {
      remedy: `find out who wrote to the fenced side, then copy the rows again: switchback verify ${context.plan.path} ${phase} --repair`,
    },
  );
