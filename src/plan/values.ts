import { z } from 'zod';
import { ACTION_PLACEHOLDERS, type RouterAction } from '../domain/placeholder.ts';
import { isGuarded } from '../platform/http.ts';
import { DURATION, DURATION_REMEDY, parseDuration } from './duration.ts';
import { patternProblem } from './patterns.ts';
import { placeholderProblem } from './placeholders.ts';
import { parseRate, RATE, RATE_REMEDY } from './rate.ts';

/** A name that becomes part of slot and publication names, and of a router's keys. */
export const NAME = /^[a-z][a-z0-9_-]{0,29}$/;
const RATE_MESSAGE = `must be a rate; ${RATE_REMEDY}`;
const DURATION_MESSAGE = `must be a duration; ${DURATION_REMEDY}`;
/** What a wrong name is told, as `what; remedy`. */
export const NAME_MESSAGE = 'must be a name; use at most 30 of a-z, 0-9, _ and -, with a letter first';
/** Longer than any soak that makes sense, and exact in a JavaScript number. */
const LONGEST_MS = 365 * 86_400_000;
/** Room for every table of a large database named one by one. */
export const MOST_ITEMS = 10_000;

/** A name of a phase, a router or a run. */
export const name = () => z.string(NAME_MESSAGE).regex(NAME, NAME_MESSAGE);

/** What the reference and the editor say of a value. */
interface Words {
  readonly description: string;
  readonly examples: readonly string[];
}

/** A duration in milliseconds with its bound. Words go with the text, since zod drops those of a transform. */
const span = ({ atLeastMs, ...words }: Words & { atLeastMs: number }) =>
  z
    .string(DURATION_MESSAGE)
    .regex(DURATION, DURATION_MESSAGE)
    // In the file it may also be a reference to the environment, which an editor shall not mark as wrong.
    .meta({ ...words, examples: [...words.examples], pattern: `${DURATION.source}|\\$\\{` })
    .transform((value) => parseDuration(value) ?? Number.NaN)
    .refine((ms) => ms >= atLeastMs, { error: `is too short; write at least ${atLeastMs}ms` })
    .refine((ms) => ms <= LONGEST_MS, { error: 'is too long; write at most 365d' });

/** A duration in milliseconds with its bound and default. */
export const duration = ({ otherwise, ...bounded }: Words & { atLeastMs: number; otherwise: string }) =>
  span(bounded).prefault(otherwise);

/** A duration in milliseconds with its bound, or undefined. */
export const optionalDuration = (bounded: Words & { atLeastMs: number }) => span(bounded).optional();

/** Bytes per second, at least `atLeast` of them. */
export const rate = ({ atLeast, ...words }: Words & { atLeast: string }) =>
  z
    .string(RATE_MESSAGE)
    .regex(RATE, RATE_MESSAGE)
    .meta({ ...words, examples: [...words.examples], pattern: `${RATE.source}|\\$\\{` })
    .transform((value) => parseRate(value) ?? Number.NaN)
    .refine((bytes) => bytes >= (parseRate(atLeast) ?? 0), { error: `is too slow; write at least ${atLeast}` });

/** A value, or a list of them. */
export const oneOrMore = (value: z.ZodString) =>
  z.union([value, z.array(value).min(1, 'is an empty list; give at least one').max(MOST_ITEMS)], {
    error: 'must be text or a list of texts; write one, or [one, two]',
  });

/** A value that is one or a list of them, as a list. */
export const listOf = (value: string | readonly string[]): readonly string[] =>
  typeof value === 'string' ? [value] : value;

/** A TCP port. */
export const port = () =>
  z
    .int('must be a number; write it without quotes')
    .min(1, 'is no port; use 1 to 65535')
    .max(65_535, 'is no port; use 1 to 65535');

/** Text that is not empty. */
export const text = () => z.string().min(1, 'is empty; give it a value or leave the key out');

/** Whether it is a connection URL. */
export const isPostgresUrl = (value: string): boolean => /^postgres(ql)?:$/.test(URL.parse(value)?.protocol ?? '');

/** A connection URL; what it says is read when a session is made. */
export const postgresUrl = () =>
  text().refine(isPostgresUrl, {
    error: `is not a PostgreSQL URL; write postgresql://user@host:port/database, with / # ? of a password as %2F %23 %3F`,
  });

/** An address that secrets may be sent to. */
export const guardedUrl = () =>
  text().refine(isGuarded, {
    error:
      'is no address that can be trusted; write https://host/path, or http:// for the loopback address alone, without a user and a #',
  });

/** A well-formed pattern of tables. */
export const pattern = () =>
  text().superRefine((value, context) => {
    const problem = patternProblem(value);
    if (problem !== null) context.addIssue({ code: 'custom', message: problem });
  });

/** A program and its arguments, with the placeholders of its action. */
export const argv = (action: RouterAction) =>
  z
    .array(z.string())
    .min(1, 'names no program; write the program and its arguments as a list')
    .max(MOST_ITEMS)
    .superRefine((value, context) => {
      if (value[0] === '') context.addIssue({ code: 'custom', message: 'names no program; write its path first' });
      value.forEach((argument, index) => {
        const problem = placeholderProblem(argument, ACTION_PLACEHOLDERS[action]);
        if (problem !== null) context.addIssue({ code: 'custom', message: problem, path: [index] });
      });
    });
