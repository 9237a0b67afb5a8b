import type { SourceType } from '@aws-sdk/client-rds';
import type { RdsApi } from './api.ts';

/** RDS keeps them for two weeks; what is under way began within a day. */
const LOOK_BACK_MINUTES = 24 * 60;
const MOST = 5;

/** What RDS has told of something lately, the newest last, in one line. */
export const eventsOf = async (api: RdsApi, type: SourceType, id: string): Promise<string> => {
  const { Events = [] } = await api.call('DescribeEvents', id, {
    SourceType: type,
    SourceIdentifier: id,
    Duration: LOOK_BACK_MINUTES,
  });
  return Events.slice(-MOST)
    .map((event) => `${event.Date === undefined ? '' : `${event.Date.toISOString()} `}${event.Message ?? ''}`)
    .join('; ');
};
