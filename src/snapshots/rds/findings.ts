import { isKind } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { type Creation, readSource, unfitness } from './creation.ts';
import type { Source } from './kind.ts';
import { shareable } from './sharing.ts';

/** A refusal as a finding that blocks; whatever else went wrong is thrown on: then it could not be looked. */
const asFinding = (error: unknown, { id, subject }: Pick<Finding, 'id' | 'subject'>): Finding => {
  if (!isKind(error, 'refused')) throw error;
  return { id, severity: 'blocks', subject, fact: error.message, remedy: error.remedy ?? 'see the message' };
};

const fitFindings = ({ status }: Source, subject: string): readonly Finding[] => {
  const unfit = unfitness(status);
  return unfit === null ? [] : [{ id: 'snapshot/source-unfit', severity: 'blocks', subject, ...unfit }];
};

/** An alias of DNS is as good; the instance of another system, named by mistake, is what this is for. */
const hostFindings = ({ host }: Source, url: string, subject: string): readonly Finding[] => {
  const said = URL.parse(url)?.hostname ?? '';
  if (host === null || host.toLowerCase() === said.toLowerCase()) return [];
  const fact = `it answers at ${host}, and the plan's source URL leads to ${said}`;
  const remedy = 'make sure that this name leads there: a snapshot of another database is worth nothing';
  return [{ id: 'snapshot/other-host', severity: 'warns', subject, fact, remedy }];
};

const keyFindings = async (
  { kept, sharing }: Creation,
  source: Source,
  subject: string,
): Promise<readonly Finding[]> => {
  try {
    await shareable(kept.api, source.key, sharing);
    return [];
  } catch (error) {
    return [asFinding(error, { id: 'snapshot/key-not-shared', subject })];
  }
};

const quotaFindings = async ({ kept }: Creation, subject: string): Promise<readonly Finding[]> => {
  const { AccountQuotas = [] } = await kept.api.call('DescribeAccountAttributes', 'the account', {});
  const quota = AccountQuotas.find(({ AccountQuotaName }) => AccountQuotaName === kept.kind.quota);
  const { Used = 0, Max = 0 } = quota ?? {};
  if (quota === undefined || Used < Max) return [];
  const fact = `the account has ${Used} of at most ${Max} manual snapshots in this region, so none can be made`;
  const remedy = 'remove what nobody needs (switchback snapshot prune PLAN), or ask AWS for a higher quota';
  return [{ id: 'snapshot/quota', severity: 'blocks', subject, fact, remedy }];
};

/** What would keep RDS from making a snapshot of the source. Rights to change anything show only when they are used. */
export const storeFindings = async (creation: Creation, url: string): Promise<readonly Finding[]> => {
  const subject = `${creation.kept.kind.kind} ${creation.source}`;
  let source: Source;
  try {
    source = await readSource(creation);
  } catch (error) {
    return [asFinding(error, { id: 'snapshot/source-unfit', subject })];
  }
  return [
    ...fitFindings(source, subject),
    ...hostFindings(source, url, subject),
    ...(await keyFindings(creation, source, subject)),
    ...(await quotaFindings(creation, subject)),
  ];
};
