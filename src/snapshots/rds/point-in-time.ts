import { SwitchbackError } from '../../domain/errors.ts';

/** A point in time as RDS takes it. Throws kind `usage` for what is none. */
export const timeOf = (text: string): Date => {
  const time = new Date(text);
  if (/^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text) && !Number.isNaN(time.getTime())) return time;
  throw new SwitchbackError('usage', `${text} is no point in time`, { remedy: 'write it as 2026-11-27T14:30:00Z' });
};
