import { SwitchbackError } from '../domain/errors.ts';
import type { LinkedEntry } from '../sidecar/journal.ts';
import { type Audit, readAudit, verifyAudit } from '../stages/audit.ts';
import type { RunContext } from '../stages/context.ts';
import { type CommandModule, flag, text, withPlan } from './command.ts';
import { color, countText, say, sayJson } from './render.ts';

type Action = (context: RunContext, json: boolean) => Promise<number>;

/** `audit`: the journal as evidence. */
export const audit: CommandModule = {
  usage: 'audit <action> <plan>',
  describe: '`verify`: check that nobody changed the journal; `show`: list it. Changes nothing',
  options: {},
  run: async (args) => {
    const action = text(args, 'action');
    const json = flag(args, 'json');
    const work = ACTIONS.get(action ?? '');
    if (work === undefined) {
      throw new SwitchbackError('usage', `audit has no action "${action ?? ''}"`, {
        remedy: 'switchback audit verify PLAN, or switchback audit show PLAN',
      });
    }
    return await withPlan(
      args,
      () => undefined,
      (context) => work(context, json),
    );
  },
};

const verify = async (context: RunContext, json: boolean): Promise<number> => {
  const found = await verifyAudit(context);
  if (json) sayJson({ ok: found.problem === null, ...found });
  else print(found, context.plan.path);
  return found.problem === null ? 0 : 3;
};

const print = ({ entries, end, noted, problem }: Audit, path: string): void => {
  if (problem !== null) {
    say(`${color.red(problem.flaw)}  ${problem.fact}`);
    say(`${countText(Number(entries))} entries before it are in order`);
    say(`what to do: find out who may write to schema switchback; the entries: switchback audit show ${path}`);
    return;
  }
  say(color.green(`${countText(Number(entries))} entries, each linked to the one before it`));
  say(`newest  ${end.id}  ${end.hash}`);
  say(
    noted === null
      ? color.yellow('the target has no sidecar any more, so a cut at the end would not be seen')
      : `${countText(noted)} ends that the target noted are all there`,
  );
};

const show = async (context: RunContext, json: boolean): Promise<number> => {
  for await (const entry of readAudit(context)) {
    if (json) sayJson({ id: entry.id, ...entry.fields, previous: entry.previous, hash: entry.hash });
    else say(entryLine(entry));
  }
  return 0;
};

const entryLine = ({ id, fields }: LinkedEntry): string => {
  const { at, epoch, scope, phases, step, status, detail, ms } = fields;
  const head = `${id}  ${at}  epoch ${epoch}  ${phases === '' ? '' : `${phases}: `}${scope} · ${step} ${status}`;
  return `${head}${ms === null ? '' : ` (${ms} ms)`}${detail === null ? '' : `  ${color.dim(detail)}`}`;
};

const ACTIONS: ReadonlyMap<string, Action> = new Map([
  ['verify', verify],
  ['show', show],
]);
