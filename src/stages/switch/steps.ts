import { SwitchbackError } from '../../domain/errors.ts';
import { otherSide, sidesOf } from '../../domain/position.ts';
import { type StepName, SWITCH_STEPS, stepsOf } from '../../domain/protocol.ts';
import { displayName } from '../../domain/table.ts';
import { ownershipGuard } from '../../sidecar/ownership.ts';
import { type SwitchDocument, writeSwitch } from '../../sidecar/switches.ts';
import { proveTouched } from '../certify.ts';
import { accountForLoss } from './as-restored.ts';
import { holdRouters } from './routing.ts';
import { allOf, recorded, runnerOf, type Switch, sideA, sideB } from './types.ts';

/** One step of the window. What undoes it is in the protocol's table. */
export interface WindowStep {
  readonly name: string;
  /** It ends by itself with the window, and then says what was in its way. */
  readonly isBounded?: boolean;
  /** See {@link Effect.changesNothing}. */
  readonly changesNothing?: true;
  /** Returns what the journal should say of it, if anything. */
  act(s: Switch): Promise<string | undefined>;
}

/** A step without the name that the table gives it. */
type Act = Omit<WindowStep, 'name'>;

/** Records what became known, so that another machine can undo or complete the switch. */
const note = async (s: Switch, known: Partial<SwitchDocument>): Promise<void> => {
  const document = { ...s.document, ...known };
  const { tenure } = s.tools;
  await tenure.act((sql) =>
    writeSwitch(sql, {
      id: s.id,
      direction: s.direction,
      phases: s.phases.map((phase) => phase.name),
      epoch: tenure.epoch,
      document,
    }),
  );
  s.document = document;
};

const namesOf = (s: Switch): readonly string[] => s.phases.map((phase) => phase.name);
const tablesOf = (s: Switch) => s.phases.flatMap((phase) => phase.scope.tables);

const hold: Act = {
  isBounded: true,
  act: async (s) => {
    await holdRouters(s.tools.context, namesOf(s), s.left);
    return undefined;
  },
};

const fence: Act = {
  isBounded: true,
  act: async (s) => {
    const { context, tenure, signal } = s.tools;
    const { from, to } = sidesOf(s.direction);
    await sideA(s).database.fence({
      tables: tablesOf(s),
      reason: `phase ${namesOf(s).join(', ')} is moving, or has moved, to the ${to} database`,
      guard: ownershipGuard({
        phases: namesOf(s),
        epoch: tenure.epoch,
        role: 'primary',
        fenced: true,
        by: context.holder,
      }),
      blockers: context.plan.switch.blockers,
      budgetMs: s.left(),
      onBlocked: (blockers) => context.emit({ type: 'blocked', phases: namesOf(s), blockers }),
      signal,
    });
    return `${tablesOf(s).length} tables on the ${from}`;
  },
};

/** P is read after the fence has committed: nothing of the phase can be in the log past it (S2). */
const position: Act = {
  changesNothing: true,
  act: async (s) => {
    const fencedAt = await sideA(s).database.head();
    await note(s, { fencedAt });
    return fencedAt;
  },
};

/** The marker that travels is a row of our own. */
const drain: Act = {
  isBounded: true,
  changesNothing: true,
  act: async (s) => {
    const to = recorded(s.document.fencedAt, 'position');
    await Promise.all(
      s.phases.map((phase) => runnerOf(phase).drain({ to, budgetMs: s.left(), signal: s.tools.signal })),
    );
    return undefined;
  },
};

/** Both sides stand still now, so one comparison of what has changed since the certificate decides (S10). */
const prove: Act = {
  act: async (s) => {
    const proven = await allOf(s.phases, (phase) => proveTouched(s.tools.context, phase, s.tools.signal));
    // Nothing may be done any more when the window has run out meanwhile: the undo is under way.
    s.left();
    await allOf(s.phases, (phase) => runnerOf(phase).stop());
    s.left();
    return `${proven.reduce((sum, keys) => sum + keys, 0)} changed keys equal on both sides`;
  },
};

const sequences: Act = {
  act: async (s) => {
    const { context, tenure } = s.tools;
    const moved = await allOf(s.phases, async (phase) => {
      const states = await sideA(s).database.sequences.read(phase.scope.sequences);
      s.left();
      await sideB(s).database.sequences.advance(
        states,
        ownershipGuard({
          phases: [phase.name],
          epoch: tenure.epoch,
          role: 'replica',
          fenced: true,
          by: context.holder,
        }),
      );
      return states.length;
    });
    return `${moved.reduce((sum, count) => sum + count, 0)} sequences`;
  },
};

/** R is read while B is still fenced, so no commit of the application on B can be before it (S8). */
const wayBack: Act = {
  act: async (s) => {
    const reverseFrom = await sideB(s).database.head();
    const ended = recorded(s.document.fencedAt, 'position');
    const reverseSlots = Object.fromEntries([...s.wayBack].map(([phase, runner]) => [phase, runner.slot]));
    await note(s, { reverseFrom, reverseSlots });
    await Promise.all(
      s.phases.map(async (phase) => {
        const runner = s.wayBack.get(phase.name);
        if (!runner) throw new SwitchbackError('internal', `no way back was made for phase ${phase.name}`);
        s.left();
        await runner.open({ kind: 'from', position: reverseFrom, ended });
        s.left();
        runner.touched.restart();
        runner.start();
        await runner.drain({ to: reverseFrom, budgetMs: s.left(), signal: s.tools.signal });
      }),
    );
    s.left();
    return `from ${reverseFrom} on the ${otherSide(sidesOf(s.direction).from)}; a marker has travelled back`;
  },
};

const ACTS: Readonly<Record<StepName<'window'>, Act>> = {
  hold,
  fence,
  position,
  drain,
  prove,
  sequences,
  'way back': wayBack,
};

/** The steps of the window, in the order of the protocol's table. */
const WINDOW_STEPS: readonly WindowStep[] = stepsOf('window').map((name) => ({ name, ...ACTS[name] }));

/** Without a lane there is nothing to drain and no way back to prove; what differs is what is lost. */
const AS_RESTORED_STEPS: readonly WindowStep[] = [
  { name: 'hold', ...hold },
  { name: 'fence', ...fence },
  { name: 'position', ...position },
  { name: 'prove', act: accountForLoss },
  { name: 'sequences', ...sequences },
];

/** The steps of a switch's window, in their order. */
export const windowSteps = ({ asRestored }: Pick<Switch, 'asRestored'>): readonly WindowStep[] =>
  asRestored ? AS_RESTORED_STEPS : WINDOW_STEPS;

/** The steps of a switch that goes well, with their undo column, for `show`. */
export const describeSteps = (s: {
  direction: Switch['direction'];
  tables: readonly { schema: string; name: string }[];
}) => {
  const { from, to } = sidesOf(s.direction);
  const filled = (text: string): string =>
    text.replaceAll('{A}', from).replaceAll('{B}', to).replaceAll('{tables}', s.tables.map(displayName).join(', '));
  return SWITCH_STEPS.filter(({ part }) => part !== 'undoing').map(({ name, does, undo }) => ({
    step: name,
    does: filled(does),
    undo: filled(undo),
  }));
};
