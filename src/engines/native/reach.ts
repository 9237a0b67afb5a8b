import { randomBytes } from 'node:crypto';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import { quoteName, quoteText } from '../../platform/postgres/quote.ts';
import { codeOf, type PostgresServer } from '../../platform/postgres/server.ts';
import type { NativeContext } from './context.ts';

const NO_WAY = /could not connect to the publisher/;
const NOT_LET_IN =
  /authentication failed|no pg_hba\.conf entry|does not exist|no password supplied|password is required/;
const INSUFFICIENT_PRIVILEGE = '42501';
const ROLLED_BACK = new Error('it can be made');

/** What a server says that could not make a subscription, as an error of ours; everything else as it is. */
export const explainSubscribing = ({ from, to }: Pick<NativeContext, 'from' | 'to'>, error: unknown): unknown => {
  const said = messageOf(error);
  if (NO_WAY.test(said)) {
    const remedy = `give the URL by which it does as native.${from.label}.url in the plan, and let it in (pg_hba.conf); then: switchback check PLAN`;
    const details = { remedy, cause: error };
    if (NOT_LET_IN.test(said)) {
      return new SwitchbackError(
        'refused',
        `the ${from.label} does not let the ${to.label}'s server in: ${said}`,
        details,
      );
    }
    return new SwitchbackError(
      'unreachable',
      `the ${to.label}'s server cannot reach the ${from.label}: ${said}`,
      details,
    );
  }
  if (codeOf(error) !== INSUFFICIENT_PRIVILEGE) return error;
  return new SwitchbackError('refused', `our role may not make subscriptions on the ${to.label}: ${said}`, {
    remedy: `as a superuser on the ${to.label}: GRANT pg_create_subscription TO <our role>; before 16 it has to be a superuser; then: switchback check PLAN`,
    cause: error,
  });
};

/**
 * Whether the written side's server can subscribe to the other one: it tries, in a transaction that is rolled back. Null when it
 * can; else what the server said.
 */
export const tryToSubscribe = async (to: PostgresServer, conninfo: string): Promise<unknown> => {
  const name = `switchback_check_${randomBytes(4).toString('hex')}`;
  let refusal: unknown = null;
  try {
    await to.transaction(async (sql) => {
      await sql
        .query(
          `CREATE SUBSCRIPTION ${quoteName(name)} CONNECTION ${quoteText(conninfo)} PUBLICATION ${quoteName(name)}
             WITH (enabled = false, create_slot = false, copy_data = false, slot_name = ${quoteText(name)})`,
        )
        .catch((error: unknown) => {
          refusal = error;
        });
      throw ROLLED_BACK;
    });
  } catch (error) {
    if (error !== ROLLED_BACK) throw error;
  }
  return refusal;
};

/** Throws what keeps the written side's server from the other one, if anything does. */
export const assertReach = async (context: NativeContext): Promise<void> => {
  const refusal = await tryToSubscribe(context.to, context.conninfo);
  if (refusal !== null) throw explainSubscribing(context, refusal);
};
