import { blocks } from '../domain/finding.ts';
import { readCheckInput } from '../stages/check.ts';
import { assertPlan, readRuns } from '../stages/open.ts';
import { probeFindings } from '../stages/probe-findings.ts';
import { type CommandModule, flag, withPlan } from './command.ts';
import { countText, findingText, say, sayJson } from './render.ts';

/** `check`: looks at everything, changes nothing. */
export const check: CommandModule = {
  usage: 'check <plan>',
  describe: 'Look for everything that would go wrong; changes nothing',
  options: {},
  run: async (args) =>
    await withPlan(
      args,
      () => undefined,
      async (context) => {
        const runs = await readRuns(context);
        if (runs.source) assertPlan(context, runs.source);
        const input = await readCheckInput(context, runs);
        const { scope } = input;
        const found = await context.preflight(input);
        const probed = await probeFindings(context, scope.phases.keys());
        // Asked here and by `snapshot create`, and not before a switch: no failback waits for what a snapshot needs.
        const ofSnapshots = (await context.snapshots?.findings()) ?? [];
        const findings = [...scope.findings, ...found, ...probed, ...ofSnapshots];
        const tables = [...scope.phases.values()].reduce((sum, phase) => sum + phase.tables.length, 0);
        const ok = !blocks(findings);
        if (flag(args, 'json')) sayJson({ ok, phases: scope.phases.size, tables, findings });
        else {
          for (const finding of [...findings].sort((a, b) => a.severity.localeCompare(b.severity)))
            say(findingText(finding));
          const blocking = findings.filter((f) => f.severity === 'blocks').length;
          say(
            `${scope.phases.size} phases, ${countText(tables)} tables: ${blocking} findings block, ${findings.length - blocking} warn`,
          );
          say(ok ? `next: switchback show ${context.plan.path}` : 'mend what blocks, then check again');
        }
        return ok ? 0 : 3;
      },
    ),
};
